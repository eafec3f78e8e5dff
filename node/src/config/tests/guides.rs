//! What people run today: the configurations of registry:2's documentation, of guides, and of products that bring it along.

use super::*;

/// The keys of the mistakes; none if it loads.
fn refused(text: &str, env: &[(&str, &str)]) -> BTreeSet<String> {
    loaded(text, env)
        .map_or_else(|mistakes| mistakes.0.into_iter().map(|mistake| mistake.key).collect(), |_| BTreeSet::new())
}

/// Refused for nothing but these, which are not built.
#[track_caller]
fn refused_at_most_for(text: &str, unbuilt: &[&str]) {
    let keys = refused(text, &[]);
    assert!(keys.iter().all(|key| unbuilt.contains(&key.as_str())), "{keys:?}");
}

#[test]
fn users_by_variables() {
    let env = [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
    ];
    let users = loaded(FILE, &env).unwrap().config.htpasswd.unwrap();
    assert_eq!((users.realm.as_str(), users.path), ("Registry Realm", PathBuf::from("/auth/htpasswd")));
}

#[test]
fn tls_by_variables() {
    let env = [
        ("REGISTRY_HTTP_ADDR", "0.0.0.0:443"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/certs/domain.crt"),
        ("REGISTRY_HTTP_TLS_KEY", "/certs/domain.key"),
    ];
    let http = loaded(FILE, &env).unwrap().config.http;
    let tls = http.tls.unwrap();
    assert_eq!(http.addr, "0.0.0.0:443");
    assert_eq!((tls.certificate, tls.key), ("/certs/domain.crt".into(), "/certs/domain.key".into()));
}

#[test]
fn s3_by_variables_over_the_file_of_the_image() {
    let env = [
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        ("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "redis"),
        ("REGISTRY_REDIS_ADDR", "redis:6379"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "AKIA1"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "True"),
        ("REGISTRY_STORAGE_S3_REGION", "eu-central-1"),
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "http://minio:9000"),
        ("REGISTRY_STORAGE_S3_BUCKET", "docker"),
        ("REGISTRY_STORAGE_S3_SECURE", "false"),
        ("REGISTRY_STORAGE_S3_V4AUTH", "true"),
        ("REGISTRY_STORAGE_S3_CHUNKSIZE", "5242880"),
        ("REGISTRY_STORAGE_REDIRECT_DISABLE", "true"),
        ("REGISTRY_CATALOG_MAXENTRIES", "5000"),
    ];
    let config = loaded(FILE, &env).unwrap().config;
    let Driver::S3(s3) = &config.storage.driver else { panic!("{config:?}") };
    assert_eq!((s3.bucket.as_str(), s3.region_endpoint.as_deref()), ("docker", Some("http://minio:9000")));
    assert_eq!((s3.access_key.as_deref(), s3.secret_key.as_deref()), (Some("AKIA1"), Some("True")));
    assert!(!s3.secure && s3.force_path_style && config.storage.delete && !config.storage.redirect);
    assert_eq!((config.pages.catalog, config.pages.tags), (5_000, 100_000));
}

#[test]
fn other_directory_and_a_file_of_ones_own() {
    let env = [("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/somewhere")];
    assert_eq!(loaded(FILE, &env).unwrap().config.data_dir, PathBuf::from("/somewhere/flotilla"));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yml");
    std::fs::write(&file, FILE.replace(":5000", ":5005")).unwrap();
    let path = ("REGISTRY_CONFIGURATION_PATH".to_owned(), file.display().to_string());
    let config = load(Some(std::path::Path::new("/no/such/file")), [path]).unwrap().config;
    assert_eq!(config.http.addr, ":5005");
    let mistakes = load(Some(std::path::Path::new("/no/such/file")), []).unwrap_err();
    assert_eq!(mistakes.0[0].key, "configuration file");
}

#[test]
fn without_a_file_the_driver_comes_by_a_variable_or_the_start_is_refused() {
    use crate::config::load::inspect_among;
    let mistakes = inspect_among(None, [], &["/no/such/file"]).unwrap_err();
    assert!(mistakes.to_string().contains("there is no configuration file"), "{mistakes}");
    let driver = ("REGISTRY_STORAGE".to_owned(), "filesystem".to_owned());
    let started = inspect_among(None, [driver], &["/no/such/file"]).unwrap();
    assert!(started.file.is_none() && started.loaded.config.http.addr == ":5000");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yml");
    std::fs::write(&file, FILE).unwrap();
    let found = inspect_among(None, [], &["/no/such/file", file.to_str().unwrap()]).unwrap();
    assert_eq!(found.file, Some(file));
}

#[test]
fn a_pull_through_cache_is_refused_in_words_and_switched_off_it_is_not() {
    let mistakes = loaded(FILE, &[("REGISTRY_PROXY_REMOTEURL", "https://registry.example")]).unwrap_err();
    assert!(mistakes.0.len() == 1 && mistakes.to_string().contains("pull-through"), "{mistakes}");
    for env in [[("REGISTRY_PROXY_REMOTEURL", "")], [("REGISTRY_PROXY_TTL", "168h")]] {
        loaded(FILE, &env).unwrap();
    }
}

/// The registry of GitLab's packages.
#[test]
fn gitlab() {
    let text = "version: 0.1\nlog:\n  level: info\n  formatter: text\n  fields:\n    service: registry\n    environment: production\n\
        storage: {\"cache\":{\"blobdescriptor\":\"inmemory\"},\"delete\":{\"enabled\":true},\"filesystem\":{\"rootdirectory\":\"/shared/registry\"}}\n\
        http:\n  addr: 127.0.0.1:5000\n  secret: \"hush\"\n  headers:\n    X-Content-Type-Options: [nosniff]\n\
        health:\n  storagedriver:\n    enabled: true\n    interval: 10s\n    threshold: 3\n\
        auth:\n  token:\n    realm: https://gitlab.example/jwt/auth\n    service: container_registry\n    issuer: omnibus-gitlab-issuer\n    \
        rootcertbundle: /registry/gitlab-registry.crt\n    autoredirect: false\n\
        validation:\n  disabled: true\n";
    refused_at_most_for(text, &["auth.token"]);
    let s3 = text.replace(
        "\"filesystem\":{\"rootdirectory\":\"/shared/registry\"}",
        "\"s3\":{\"accesskey\":\"a\",\"secretkey\":\"hush\",\"bucket\":\"b\",\"region\":\"r\",\"regionendpoint\":\"https://s3.example\",\"path_style\":true}",
    );
    assert_ne!(s3, text);
    refused_at_most_for(&s3, &["auth.token"]);
    // With the notifications of Geo.
    let geo = format!(
        "{text}notifications:\n  endpoints:\n    - name: geo_event\n      url: https://gitlab.example/api/v4/container_registry_event/events\n      \
         timeout: 500ms\n      threshold: 5\n      backoff: 1s\n      headers: {{\"Authorization\": [\"hush\"]}}\n"
    );
    assert!(refused(&geo, &[]).contains("notifications.endpoints"));
    assert!(!loaded(&geo, &[]).unwrap_err().to_string().contains("hush"));
}

/// The registry of Harbor's installer.
#[test]
fn harbor() {
    let text = "version: 0.1\nlog:\n  level: info\n  fields:\n    service: registry\n\
        storage:\n  cache:\n    layerinfo: redis\n  filesystem:\n    rootdirectory: /storage\n  maintenance:\n    uploadpurging:\n      \
        enabled: true\n      age: 168h\n      interval: 24h\n      dryrun: false\n  delete:\n    enabled: true\n  redirect:\n    disable: true\n\
        redis:\n  addr: redis:6379\n  readtimeout: 10s\n  writetimeout: 10s\n  dialtimeout: 10s\n  enableTLS: false\n  password: hush\n  db: 1\n  \
        pool:\n    maxidle: 100\n    maxactive: 500\n    idletimeout: 60s\n\
        http:\n  addr: :5000\n  secret: placeholder\n  debug:\n    addr: localhost:5001\n    prometheus:\n      enabled: true\n      path: /metrics\n\
        auth:\n  htpasswd:\n    realm: harbor-registry-basic-realm\n    path: /etc/registry/passwd\n\
        validation:\n  disabled: true\ncompatibility:\n  schema1:\n    enabled: true\n";
    let Loaded { config, notices, .. } = loaded(text, &[]).unwrap();
    assert_eq!(config.http.debug_addr.as_deref(), Some("localhost:5001"));
    let told = |key: &str| notices.iter().filter(|notice| notice.key == key).count();
    for key in ["redis", "compatibility", "storage.cache", "http.secret", "validation.disabled"] {
        assert_eq!(told(key), 1, "{key}: {notices:?}");
    }
    assert!(!format!("{notices:?}").contains("hush"));
}
