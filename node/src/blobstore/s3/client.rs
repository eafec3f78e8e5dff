use super::error;
use crate::{
    blobstore::{Error, Metrics, Operation},
    config,
};
use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
        interceptors::BeforeTransmitInterceptorContextRef, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::BoxError,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{orchestrator::Metadata, retries::RequestAttempts};
use std::time::Duration;

/// Attempts of one request; waits between them double from `BACKOFF`, with jitter.
const ATTEMPTS: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// One attempt, a part of 16 MiB included: that is about 280 KiB/s.
const ATTEMPT: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(20);
const IDLE_MAX: usize = 64;

/// A client for `config`; fails on settings that can never work.
pub(super) async fn client(config: &config::S3, metrics: Metrics) -> Result<Client, Error> {
    let http = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_MAX)
        .build_https();
    let endpoint =
        config.region_endpoint.as_deref().filter(|text| !text.is_empty()).map(|text| endpoint(text, config.secure));
    if config.skip_verify && !endpoint.as_deref().is_some_and(|url| url.starts_with("http://")) {
        let fix = "storage.s3.skipverify is not supported: add the store's CA to the system's, or to SSL_CERT_FILE";
        return Err(error::refused(fix.to_owned()));
    }
    let region = Region::new(if config.region.is_empty() { "us-east-1".to_owned() } else { config.region.clone() });
    let mut builder = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http.clone())
        .region(region.clone())
        .force_path_style(config.force_path_style)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Readers have their own limit; a slow client must not count as a stalled store.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(ATTEMPTS)
                .with_initial_backoff(BACKOFF)
                .with_max_backoff(BACKOFF_MAX),
        )
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build())
        .interceptor(Retries(metrics));
    if let Some(url) = endpoint {
        builder = builder.endpoint_url(url);
    }
    match (&config.access_key, &config.secret_key) {
        (Some(id), Some(secret)) => {
            let keys = Credentials::new(id, secret, config.session_token.clone(), None, "config");
            builder = builder.credentials_provider(keys);
        }
        _ => builder = chain(builder, http, region).await?,
    }
    Ok(Client::from_conf(builder.build()))
}

/// The same client, for URLs that lead to `endpoint`.
pub(super) fn leading_to(client: &Client, url: &str, secure: bool) -> Client {
    Client::from_conf(client.config().to_builder().endpoint_url(endpoint(url, secure)).build())
}

/// The usual places: environment, profile, web identity, container and instance metadata.
async fn chain(
    builder: aws_sdk_s3::config::Builder,
    http: SharedHttpClient,
    region: Region,
) -> Result<aws_sdk_s3::config::Builder, Error> {
    let shared = aws_config::defaults(BehaviorVersion::latest()).http_client(http).region(region).load().await;
    let Some(provider) = shared.credentials_provider() else {
        return Err(error::refused("no credentials: set storage.s3.accesskey and secretkey".to_owned()));
    };
    Ok(builder.credentials_provider(provider))
}

/// `regionendpoint` as URL; without a scheme, `secure` decides.
fn endpoint(text: &str, secure: bool) -> String {
    let text = text.trim_end_matches('/');
    match text.contains("://") {
        true => text.to_owned(),
        false => format!("{}://{text}", if secure { "https" } else { "http" }),
    }
}

/// Counts attempts after the first.
#[derive(Debug)]
struct Retries(Metrics);

impl Intercept for Retries {
    fn name(&self) -> &'static str {
        "Retries"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if bag.load::<RequestAttempts>().is_some_and(|attempts| attempts.attempts() > 1) {
            let operation = match bag.load::<Metadata>().map(Metadata::name) {
                Some("PutObject") => Operation::Put,
                Some("UploadPart") => Operation::Part,
                Some("CreateMultipartUpload") => Operation::Create,
                Some("CompleteMultipartUpload") => Operation::Complete,
                Some("AbortMultipartUpload") => Operation::Abort,
                Some("DeleteObjects" | "DeleteObject") => Operation::Delete,
                Some("HeadObject" | "HeadBucket") => Operation::Length,
                Some("ListObjectsV2") => Operation::List,
                Some(_) | None => Operation::Read,
            };
            self.0.retried(operation);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_scheme_follows_secure() {
        assert_eq!(endpoint("http://a:1/", true), "http://a:1");
        assert_eq!(endpoint("a:1", true), "https://a:1");
        assert_eq!(endpoint("a:1", false), "http://a:1");
    }
}
