/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL: the chain and the name are always verified; there is no switch for that.
 * $SLUICE_CA_FILE says whom to trust in place of the machine's own list,
 * $SLUICE_CERT and $SLUICE_KEY who this client is. */
#include "client/client_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where Debian, RHEL, Alpine and SUSE keep the list: OpenSSL was built for one of them.
 */
static const char *const ca_files[] = {
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem"
};

static const char *
set_var(const char *name)
{
    const char *v = getenv(name);

    return v && *v ? v : NULL;
}

/* The first of OpenSSL's reasons; empties its list. */
static const char *
reason(char *text, size_t n)
{
    const unsigned long e = ERR_get_error();

    if (e && ERR_reason_error_string(e))
        snprintf(text, n, "%s", ERR_reason_error_string(e));
    else
        snprintf(text, n, "it says nothing more");
    ERR_clear_error();
    return text;
}

static int
bad_file(const char *var, const char *path, struct err *err)
{
    char text[200];

    if (access(path, R_OK) < 0)
        return err_set(err, ERR_USAGE, "$%s: %s: %s", var, path, strerror(errno));
    return err_set(err, ERR_USAGE, "$%s: %s: %s", var, path,
                   reason(text, sizeof(text)));
}

/* NULL: this machine has none. */
static const char *
machine_list(void)
{
    for (size_t i = 0; i < sizeof(ca_files) / sizeof(ca_files[0]); i++)
        if (access(ca_files[i], R_OK) == 0)
            return ca_files[i];
    return NULL;
}

static int
trust(SSL_CTX *tls, struct err *err)
{
    static const char *const vars[] = { "SLUICE_CA_FILE", "SSL_CERT_FILE" };
    const char *list;

    for (int i = 0; i < 2; i++) {
        const char *file = set_var(vars[i]);

        if (file)
            return SSL_CTX_load_verify_file(tls, file) == 1
                       ? 0
                       : bad_file(vars[i], file, err);
    }
    SSL_CTX_set_default_verify_paths(tls); /* $SSL_CERT_DIR */
    list = machine_list();
    if (list)
        SSL_CTX_load_verify_file(tls, list);
    ERR_clear_error();
    return 0;
}

static int
show_who(SSL_CTX *tls, struct err *err)
{
    const char *cert = set_var("SLUICE_CERT"), *key = set_var("SLUICE_KEY");

    if (!cert)
        return key ? err_set(err, ERR_USAGE, "$SLUICE_KEY needs $SLUICE_CERT") : 0;
    if (SSL_CTX_use_certificate_chain_file(tls, cert) != 1)
        return bad_file("SLUICE_CERT", cert, err);
    if (!key && SSL_CTX_use_PrivateKey_file(tls, cert, SSL_FILETYPE_PEM) != 1) {
        ERR_clear_error();
        return err_set(err, ERR_USAGE,
                       "$SLUICE_CERT: %s has no private key (without a passphrase): "
                       "$SLUICE_KEY names the file that has it",
                       cert);
    }
    if ((key && SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) ||
        SSL_CTX_check_private_key(tls) != 1)
        return bad_file(key ? "SLUICE_KEY" : "SLUICE_CERT", key ? key : cert, err);
    return 0;
}

/* Whom the certificate is for: what a person needs to know when it is for others. */
static void
note_names(X509 *cert, char *out, size_t n)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    size_t at = 0;

    out[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        char ip[INET6_ADDRSTRLEN] = "";
        const char *name = ip;
        int k = 0;

        if (g->type == GEN_DNS) {
            name = (const char *)ASN1_STRING_get0_data(g->d.dNSName);
            k = ASN1_STRING_length(g->d.dNSName);
        } else if (g->type == GEN_IPADD) {
            const int bytes = ASN1_STRING_length(g->d.iPAddress);

            if (bytes == 4 || bytes == 16)
                inet_ntop(bytes == 4 ? AF_INET : AF_INET6,
                          ASN1_STRING_get0_data(g->d.iPAddress), ip, sizeof(ip));
            k = (int)strlen(ip);
        }
        for (int b = 0; b < k && at + 3 < n; b++) {
            if (b == 0 && at > 0) {
                out[at++] = ',';
                out[at++] = ' ';
            }
            if (at + 1 < n)
                out[at++] = name[b] > ' ' && name[b] < 127 ? name[b] : '?';
        }
        out[at] = '\0';
    }
    GENERAL_NAMES_free(all);
}

static int
on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *tls = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct client_conn *c = SSL_get_app_data(tls);

    if (!ok && X509_STORE_CTX_get_error_depth(store) == 0 &&
        X509_STORE_CTX_get_current_cert(store))
        note_names(X509_STORE_CTX_get_current_cert(store), c->names, sizeof(c->names));
    return ok;
}

int
client_tls_open(SSL_CTX **out, struct err *err)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    char text[200];

    *out = NULL;
    if (!tls)
        return err_set(err, ERR_IO, "start OpenSSL: %s", reason(text, sizeof(text)));
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, on_verify);
    if (trust(tls, err) < 0 || show_who(tls, err) < 0) {
        SSL_CTX_free(tls);
        return -(int)err->code;
    }
    *out = tls;
    return 0;
}

/* A certificate that is not to be trusted: why, and the way out. */
static int
not_trusted(const struct client_conn *c, long why, struct err *err)
{
    const char *text = X509_verify_cert_error_string(why);

    if (why == X509_V_ERR_HOSTNAME_MISMATCH || why == X509_V_ERR_IP_ADDRESS_MISMATCH)
        return err_set(err, ERR_INVALID,
                       "its certificate is not for %s but for: %s; use a name that it "
                       "is for",
                       c->place->host, c->names[0] ? c->names : "nobody");
    if (why == X509_V_ERR_CERT_HAS_EXPIRED || why == X509_V_ERR_CERT_NOT_YET_VALID)
        return err_set(err, ERR_INVALID,
                       "its certificate is not valid now (%s); the server needs a new "
                       "one, unless this machine's clock is wrong",
                       text);
    return err_set(err, ERR_INVALID,
                   "its certificate is not trusted (%s%s); when it is the right one, "
                   "$SLUICE_CA_FILE names who signed it",
                   text,
                   machine_list() ? ""
                                  : "; this machine has no list of whom to trust: "
                                    "ca-certificates is not installed");
}

int
client_tls_error(const struct client_conn *c, const char *what, int result,
                 struct err *err)
{
    const int why = SSL_get_error(c->tls, result), e = errno;
    const long verify = SSL_get_verify_result(c->tls);
    char text[200];

    if (verify != X509_V_OK)
        return not_trusted(c, verify, err);
    if (why == SSL_ERROR_SYSCALL || ERR_peek_error() == 0)
        return err_set(err, ERR_BUSY, "the connection broke: %s",
                       why == SSL_ERROR_SYSCALL && e ? strerror(e)
                                                     : "it ended in the middle");
    const int code = ERR_GET_REASON(ERR_peek_error());

    if (code == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return err_set(err, ERR_BUSY, "the connection broke: it ended in the middle");
    if (code == SSL_R_WRONG_VERSION_NUMBER || code == SSL_R_HTTP_REQUEST)
        return err_set(err, ERR_INVALID,
                       "it does not speak TLS there; http:// reaches a server of this "
                       "machine without it");
    if (code == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED ||
        code == SSL_R_TLSV1_ALERT_UNKNOWN_CA ||
        code == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE ||
        code == SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED ||
        code == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE)
        return err_set(
            err, ERR_DENIED,
            "it does not accept this client's certificate (%s): $SLUICE_CERT "
            "and $SLUICE_KEY name it",
            reason(text, sizeof(text)));
    return err_set(err, ERR_INVALID, "TLS: %s: %s", what, reason(text, sizeof(text)));
}

int
client_tls_start(struct client_conn *c, SSL_CTX *tls, int idle_ms, struct err *err)
{
    const char *host = c->place->host;
    unsigned char ip[16];
    const bool is_ip =
        inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1;
    int ok;

    ERR_clear_error();
    c->tls = SSL_new(tls);
    if (!c->tls)
        return err_set(err, ERR_IO, "TLS: memory is out");
    SSL_set_app_data(c->tls, c);
    ok = is_ip ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->tls), host)
               : SSL_set1_host(c->tls, host) && SSL_set_tlsext_host_name(c->tls, host);
    if (ok != 1 || SSL_set_fd(c->tls, c->fd) != 1)
        return err_set(err, ERR_INVALID, "TLS: no name to verify: %s", host);
    for (;;) {
        const int k = SSL_connect(c->tls);
        const int why = k == 1 ? 0 : SSL_get_error(c->tls, k);

        if (k == 1)
            return 0;
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            return client_tls_error(c, "handshake", k, err);
        if (client_conn_wait(c, why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, idle_ms,
                             err) < 0)
            return -(int)err->code;
    }
}
