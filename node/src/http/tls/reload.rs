use super::contents::{Contents, Fingerprint};
use super::expiry::{Expiry, Nearness};
use super::material::Material;
use super::{Acceptor, Metrics};
use crate::{clock, config::HttpTls, lifecycle::Lifecycle};
use anyhow::anyhow;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info, warn};

/// Between two looks at the files.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks at the files, and changes what an [`Acceptor`] shakes hands with. The whole is exchanged, sessions that may be
/// resumed included: a client that was admitted by another authority begins anew.
pub struct Reloader {
    config: HttpTls,
    metrics: Metrics,
    acceptors: watch::Sender<TlsAcceptor>,
    served: Fingerprint,
    /// What was seen last and cannot be used, and whether that was said.
    unusable: Option<(Fingerprint, bool)>,
    expiry: Expiry,
}

/// What a look at the files found.
#[derive(Debug)]
pub(in crate::http) enum Look {
    /// Nothing to say.
    Same,
    /// It is served from now on.
    Replaced,
    /// It cannot be used, but may be half-written.
    Unsettled,
    /// It cannot be used, and was the same at the last look. Said once.
    Refused(anyhow::Error),
}

impl Reloader {
    /// Reads the files for the first time.
    pub fn open(config: HttpTls, metrics: Metrics) -> anyhow::Result<Self> {
        let contents = Contents::read(&config);
        let material = Material::new(&config, &contents)?;
        let (acceptors, _) = watch::channel(TlsAcceptor::from(material.server));
        metrics.serves(material.not_after);
        let (served, expiry) = (contents.fingerprint(), Expiry::of(material.not_after));
        Ok(Self { config, metrics, acceptors, served, unusable: None, expiry })
    }

    /// For a listener.
    pub fn acceptor(&self) -> Acceptor {
        Acceptor(self.acceptors.subscribe())
    }

    /// Looks until the soft stop.
    pub async fn run(mut self, lifecycle: Lifecycle) {
        let looks = async {
            loop {
                self.warn();
                sleep(INTERVAL).await;
                let found = self.look().await;
                let certificate = self.config.certificate.display();
                match found {
                    Look::Same | Look::Unsettled => {}
                    Look::Replaced => info!(%certificate, "serving the changed certificate from now on"),
                    Look::Refused(error) => error!(
                        %certificate,
                        "cannot use the changed files of http.tls; the last ones go on: {error:#}"
                    ),
                }
            }
        };
        lifecycle.draining().run_until_cancelled(looks).await;
    }

    /// Looks once.
    pub(in crate::http) async fn look(&mut self) -> Look {
        let (config, served) = (self.config.clone(), self.served);
        let read = spawn_blocking(move || {
            let contents = Contents::read(&config);
            let seen = contents.fingerprint();
            (seen, (seen != served).then(|| Material::new(&config, &contents)))
        });
        let (seen, material) = match read.await {
            Ok((_, None)) => {
                self.unusable = None;
                return Look::Same;
            }
            Ok((seen, Some(material))) => (seen, material),
            Err(failure) => (Fingerprint::default(), Err(anyhow!(failure))),
        };
        match material {
            Ok(material) => {
                self.acceptors.send_replace(TlsAcceptor::from(Arc::clone(&material.server)));
                (self.served, self.unusable) = (seen, None);
                self.expiry = Expiry::of(material.not_after);
                self.metrics.serves(material.not_after);
                self.metrics.replaced();
                Look::Replaced
            }
            Err(error) => match self.unusable {
                Some((last, true)) if last == seen => Look::Same,
                Some((last, false)) if last == seen => {
                    self.unusable = Some((seen, true));
                    self.metrics.refused();
                    Look::Refused(error)
                }
                // Two files cannot be replaced in one step.
                _ => {
                    self.unusable = Some((seen, false));
                    Look::Unsettled
                }
            },
        }
    }

    fn warn(&mut self) {
        let certificate = self.config.certificate.display();
        match self.expiry.warning(clock::wall_ms() / 1000) {
            None => {}
            Some(Nearness::Days(days)) => {
                warn!(%certificate, "the certificate ends in less than {days} days: renew it")
            }
            Some(Nearness::Past) => error!(%certificate, "the certificate has ended: clients refuse it"),
        }
    }
}
