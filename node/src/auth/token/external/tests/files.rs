use super::*;
use std::fs;
use tokio::time::{Duration, advance};

/// Longer than files are not looked at.
const A_WHILE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn changed_keys_count_soon_and_broken_files_keep_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle");
    let (old, new) = (Signer::p256(), Signer::ed25519());
    let [old_pem, new_pem] = [&old, &new].map(|signer| signer.certificate("x", true, None).pem());
    fs::write(&path, &old_pem).unwrap();
    let external = at_noon(External::open(&config(Some(&path), None)).unwrap());
    let by_old = old.sign(&json!({"alg": "ES256", "kid": old.libtrust()}), &payload());
    let by_new = new.sign(&json!({"alg": "EdDSA", "kid": new.libtrust()}), &payload());
    let verified = async || [external.verify(&by_old).await.is_ok(), external.verify(&by_new).await.is_ok()];
    assert_eq!(verified().await, [true, false]);
    fs::write(&path, format!("{old_pem}{new_pem}")).unwrap();
    assert_eq!(verified().await, [true, false], "files are not read for every token");
    advance(A_WHILE).await;
    assert_eq!(verified().await, [true, true]);
    for broken in [String::new(), "-----BEGIN CERT".to_owned(), new_pem[..new_pem.len() / 2].to_owned()] {
        fs::write(&path, &broken).unwrap();
        advance(A_WHILE).await;
        assert_eq!(verified().await, [true, true], "{broken}");
    }
    fs::remove_file(&path).unwrap();
    advance(A_WHILE).await;
    assert_eq!(verified().await, [true, true]);
    fs::write(&path, &new_pem).unwrap();
    advance(A_WHILE).await;
    assert_eq!(verified().await, [false, true], "a key that is not listed any more is not trusted");
}

#[test]
fn there_is_no_start_without_keys() {
    let dir = tempfile::tempdir().unwrap();
    let open = |bundle: Option<&str>, jwks: Option<&str>| {
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (bundle, jwks) = (bundle.map(|text| write("bundle", text)), jwks.map(|text| write("jwks", text)));
        External::open(&config(bundle.as_deref(), jwks.as_deref()))
    };
    let certificate = Signer::p256().certificate("x", true, None).pem();
    let key = Signer::p256().jwk;
    let good = json!({ "keys": [key] }).to_string();
    let secret = json!({"keys": [{"kty": "oct", "k": "AAAA"}]}).to_string();
    let mut encryption = key.clone();
    encryption["use"] = json!("enc");
    let encryption = json!({ "keys": [encryption] }).to_string();
    let mixed =
        json!({"keys": [{"kty": "oct", "k": "AAAA"}, {"kty": 1}, 7, {"kty": "EC", "crv": "P-521"}, key]}).to_string();
    for (bundle, jwks, opens) in [
        (Some(certificate.as_str()), None, true),
        (None, Some(good.as_str()), true),
        (Some(&certificate), Some(&good), true),
        (None, Some(&mixed), true),
        (Some(""), None, false),
        (Some(""), Some(&good), false),
        (Some(RSA_PEM), None, false),
        (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), None, false),
        (None, Some("{}"), false),
        (None, Some("[]"), false),
        (None, Some(r#"{"keys": []}"#), false),
        (None, Some(&secret), false),
        (None, Some(&encryption), false),
        (Some(&certificate), Some("{"), false),
    ] {
        assert_eq!(open(bundle, jwks).is_ok(), opens, "{bundle:?} {jwks:?}");
    }
    let nowhere = External::open(&config(Some(Path::new("/nowhere/bundle")), None));
    assert!(matches!(nowhere, Err(KeysError::Unreadable { .. })));
}
