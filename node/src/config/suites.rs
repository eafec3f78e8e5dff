//! Names of cipher suites, as Go and so registry:2 knows them.

/// What a name means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    /// A suite of TLS 1.2 that can be chosen: its number (IANA).
    Tls12(u16),
    /// One of TLS 1.3, which are always on.
    Tls13,
    /// One without forward secrecy, or with CBC, RC4 or 3DES: not built.
    Weak,
}

/// Looks a name up.
pub(super) fn find(name: &str) -> Option<Suite> {
    let suite = match name {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => Suite::Tls12(0xc02b),
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => Suite::Tls12(0xc02c),
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => Suite::Tls12(0xc02f),
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => Suite::Tls12(0xc030),
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => Suite::Tls12(0xcca8),
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
            Suite::Tls12(0xcca9)
        }
        "TLS_AES_128_GCM_SHA256" | "TLS_AES_256_GCM_SHA384" | "TLS_CHACHA20_POLY1305_SHA256" => Suite::Tls13,
        "TLS_RSA_WITH_RC4_128_SHA"
        | "TLS_RSA_WITH_3DES_EDE_CBC_SHA"
        | "TLS_RSA_WITH_AES_128_CBC_SHA"
        | "TLS_RSA_WITH_AES_256_CBC_SHA"
        | "TLS_RSA_WITH_AES_128_CBC_SHA256"
        | "TLS_RSA_WITH_AES_128_GCM_SHA256"
        | "TLS_RSA_WITH_AES_256_GCM_SHA384"
        | "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA"
        | "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
        | "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"
        | "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"
        | "TLS_ECDHE_RSA_WITH_RC4_128_SHA"
        | "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"
        | "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
        | "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"
        | "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256" => Suite::Weak,
        _ => return None,
    };
    Some(suite)
}
