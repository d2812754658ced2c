# says what a model is
$(eval $(call module,fingerprint,base savedmodel))
