//! A certificate authority of a test, a server's certificate for `127.0.0.1`, and clients that trust it.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `ca.crt`, and `tls.crt` with `tls.key`, in a folder.
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    /// Makes them.
    pub fn new() -> Result<Self> {
        let dir = TempDir::new()?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Another name than the server's: else that one looks as if it were signed by itself.
        parameters.distinguished_name.push(DnType::CommonName, "authority of a test");
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".into()])?.signed_by(&key, &issuer)?;
        for (name, text) in [("ca.crt", issuer.pem()), ("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())]
        {
            std::fs::write(dir.path().join(name), text)?;
        }
        Ok(Self { dir })
    }

    /// One of the files.
    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Lines for the section `http` of a server.
    pub fn section(&self) -> String {
        format!("  tls:\n    certificate: {}\n    key: {}\n", self.file("tls.crt"), self.file("tls.key"))
    }

    /// Makes docker, podman, skopeo and buildah trust a registry (`host:port`).
    pub fn trusted_for(&self, registry: &str) -> Result<Trusted> {
        let folder = Path::new("/etc/docker/certs.d").join(registry);
        std::fs::create_dir_all(&folder)?;
        let trusted = Trusted(folder);
        std::fs::copy(self.file("ca.crt"), trusted.0.join("ca.crt"))?;
        Ok(trusted)
    }
}

/// `/etc/docker/certs.d/<registry>/ca.crt`, removed when dropped.
pub struct Trusted(PathBuf);

impl Drop for Trusted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        // The folder above stays if it holds another's.
        if let Some(above) = self.0.parent() {
            let _ = std::fs::remove_dir(above);
        }
    }
}
