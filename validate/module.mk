# golden sets, comparison, verdicts, policies and gates
$(eval $(call module,validate,base savedmodel fingerprint runtime runtime/runner access repo))
