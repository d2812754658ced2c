# reads TensorFlow's files
$(eval $(call module,savedmodel,base))
