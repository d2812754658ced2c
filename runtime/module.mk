# the embedded runtime: graph -> plan -> kernels
$(eval $(call module,runtime,base savedmodel,runtime/ops))
