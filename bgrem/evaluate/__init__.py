"""
Judge the detections, the sky and the photometry against a known truth.

Every method gets the same images in the same run and is compared at equal
contamination, never at a threshold of its own choosing.
"""
