"""The kernels, by subject. Importing one of these modules imports Triton: only the engine does, when it computes.

What they have in common: a program takes a run of pixels of one image, pixels lie along the last axis of a tile and classes,
where there are several, along the first; tensors of classes are (CHUNK, 1), of pixels (BLOCK,) or (1, BLOCK). Offsets of
images and classes are 64-bit. The numbers of images and of programs are not specialised, so that the last batch of an epoch
compiles nothing. Nothing is added by float atomics: sums of a program go to its own place and are added up
afterwards in a fixed order, counts are whole numbers.
"""
