use super::contents::{Content, Contents};
use super::expiry;
use crate::config::{HttpTls, TlsVersion};
use anyhow::{Context, anyhow, bail};
use rustls::{
    Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::sync::Arc;

/// What handshakes are made with.
pub(super) struct Material {
    pub(super) server: Arc<ServerConfig>,
    /// When the first certificate of the chain ends, in Unix seconds.
    pub(super) not_after: Option<u64>,
}

impl Material {
    /// Checks that all fits together. Blocks.
    pub(super) fn new(config: &HttpTls, contents: &Contents) -> anyhow::Result<Self> {
        let mut provider = rustls::crypto::ring::default_provider();
        if let Some(wanted) = &config.suites {
            provider
                .cipher_suites
                .retain(|suite| suite.tls13().is_some() || wanted.contains(&u16::from(suite.suite())));
        }
        let has_tls12 = provider.cipher_suites.iter().any(|suite| matches!(suite, SupportedCipherSuite::Tls12(_)));
        let versions: &[_] = match config.minimum {
            TlsVersion::Tls12 if has_tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls12 | TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let provider = Arc::new(provider);
        let chain = certificates(&contents.certificate)?;
        let not_after = chain.iter().filter_map(|certificate| expiry::not_after(certificate)).min();
        let pair = pair(chain, key(&contents.key)?, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
        let builder = match verifier(config, contents, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        let protocols: &[&str] = if config.http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
        server.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self { server: Arc::new(server), not_after })
    }
}

/// Checks clients' certificates, if they are asked for.
fn verifier(
    config: &HttpTls,
    contents: &Contents,
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Option<Arc<dyn ClientCertVerifier>>> {
    let Some(clients) = &config.clients else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for content in &contents.authorities {
        for certificate in certificates(content)? {
            roots.add(certificate).with_context(|| format!("{}: no authority of clients", content.path.display()))?;
        }
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    Ok(Some(builder.build().context("the authorities of clients cannot be used")?))
}

/// The certificate and its key, if they fit.
fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> anyhow::Result<CertifiedKey> {
    let key = provider.key_provider.load_private_key(key).context("the key is of a kind that cannot be used")?;
    let fits = |chain: &[CertificateDer<'static>]| CertifiedKey::new(chain.to_vec(), key.clone()).keys_match();
    match fits(&chain) {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(CertifiedKey::new(chain, key)),
        Err(Error::InconsistentKeys(_))
            if chain.iter().skip(1).any(|other| fits(std::slice::from_ref(other)).is_ok()) =>
        {
            bail!("the key fits another certificate than the first one of the file: put the server's own first")
        }
        Err(error) => Err(anyhow!(error).context("the certificate and the key do not fit")),
    }
}

fn certificates(content: &Content) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = |bytes: &[u8]| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let found = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>().map_err(intelligible)?;
        match found.is_empty() {
            false => Ok(found),
            true if holds(bytes, "PRIVATE KEY-----") => {
                bail!("it holds a key and no certificate: are the two files exchanged?")
            }
            true => bail!("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
        }
    };
    with_bytes(content, read)
}

/// The first key of a file, in the forms PKCS#8, PKCS#1 and SEC1.
fn key(content: &Content) -> anyhow::Result<PrivateKeyDer<'static>> {
    let read = |bytes: &[u8]| match PrivateKeyDer::from_pem_slice(bytes) {
        _ if holds(bytes, "ENCRYPTED") => {
            bail!("the key is encrypted: remove its passphrase (openssl pkey -in OLD -out NEW)")
        }
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if holds(bytes, "BEGIN CERTIFICATE-----") => {
            bail!("it holds a certificate and no key: are the two files exchanged?")
        }
        Err(error) => Err(intelligible(error)),
    };
    with_bytes(content, read)
}

fn with_bytes<T>(content: &Content, read: impl Fn(&[u8]) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let shown = content.path.display().to_string();
    match &content.bytes {
        Ok(bytes) => read(bytes).context(shown),
        Err(error) => Err(anyhow!("{error}").context(shown)),
    }
}

fn intelligible(error: pem::Error) -> anyhow::Error {
    match error {
        pem::Error::MissingSectionEnd { .. } => anyhow!("its end is missing"),
        pem::Error::NoItemsFound => anyhow!("it holds no key in PEM form (-----BEGIN PRIVATE KEY-----)"),
        // Further words of the library show lines of the file.
        pem::Error::IllegalSectionStart { .. } | pem::Error::Base64Decode(_) => anyhow!("it is no valid PEM"),
        other => anyhow!(other),
    }
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}
