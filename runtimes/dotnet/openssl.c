/* What .NET 3.1 looks for in OpenSSL 1.1 and OpenSSL 3 calls by other names. Everything else it finds behind this library,
 * in the machine's own OpenSSL 3, which this one is linked with. */

void ERR_new(void);
void ERR_set_debug(const char *file, int line, const char *function);
void ERR_set_error(int library, int reason, const char *format, ...);
int EVP_MD_get_size(const void *digest);
void *SSL_get1_peer_certificate(const void *connection);

void ERR_put_error(int library, int function, int reason, const char *file, int line)
{
    (void)function;
    ERR_new();
    ERR_set_debug(file, line, "");
    ERR_set_error(library, reason, (const char *)0);
}

int EVP_MD_size(const void *digest)
{
    return EVP_MD_get_size(digest);
}

void *SSL_get_peer_certificate(const void *connection)
{
    return SSL_get1_peer_certificate(connection);
}
