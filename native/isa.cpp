// One instruction set of the kernels; compiled several times with different flags and SEGCRIT_ISA names.
#include "kernel.hpp"
