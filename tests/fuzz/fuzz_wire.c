/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in a message of the runner: the first 16 bits say how many of the bytes are
 * the payload, the others are what lies in the memfd. */
#include "runtime/runner/runner_int.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
read_message(struct str payload, const uint8_t *data, size_t n, bool copy)
{
    struct wire_msg m AUTO(wire_msg_release) = WIRE_MSG_INIT;
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    struct err err = ERR_INIT;
    struct wire_in in = { payload, false };
    if (n > 0) {
        m.fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (m.fd < 0 || write(m.fd, data, n) != (ssize_t)n ||
            fcntl(m.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
            BUG("no memory to fuzz with");
        m.data_bytes = n;
    }
    if (wire_get_tensors(&m, &in, copy, &out, &err) < 0)
        return;
    for (int i = 0; i < out.n; i++) {
        struct buf text AUTO(buf_release) = BUF_INIT;
        sm_tensor_text(&out.v[i].t, &text);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n < 2)
        return 0;
    size_t n_payload = (size_t)(p[0] | p[1] << 8);
    n -= 2;
    p += 2;
    if (n_payload > n)
        n_payload = n;
    for (int copy = 0; copy < 2; copy++)
        read_message((struct str){ (const char *)p, n_payload }, p + n_payload,
                     n - n_payload, copy);
    return 0;
}
