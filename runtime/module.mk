# the embedded runtime: graph -> plan -> kernels
$(eval $(call module,runtime,base savedmodel,runtime/ops))
# Nobody reads errno or traps after a kernel's arithmetic; then loops over sqrt and over
# choices between floats vectorise. (Not -ffast-math: NaN, infinities and the order of
# operations stay as written.)
$(D)/runtime/%.o: ALL_CFLAGS += -fno-math-errno -fno-trapping-math
