# the other end of a service: requests, trees that go and come
$(eval $(call module,client,base savedmodel access repo service))
