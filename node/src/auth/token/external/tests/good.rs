use super::*;
use crate::auth::token::external::{jwk::Jwk, key::libtrust_id};

/// Each kind of key with its algorithms.
fn signers() -> [(Signer, &'static [&'static str]); 4] {
    [
        (Signer::rsa(), &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        (Signer::p256(), &["ES256"]),
        (Signer::p384(), &["ES384"]),
        (Signer::ed25519(), &["EdDSA"]),
    ]
}

#[test]
fn every_algorithm_verifies_by_every_way_to_name_the_key() {
    let ca = Signer::p256();
    let (root, issuer) = (ca.certificate("root", true, None), ca.issuer("root"));
    let middle = Signer::p384();
    let intermediate = middle.certificate("middle", true, Some(&issuer));
    for (signer, algorithms) in signers() {
        let own = signer.certificate("own", true, None);
        let spki = pem("PUBLIC KEY", &signer.spki());
        let leaf = signer.certificate("leaf", false, Some(&issuer));
        let mut params = params("leaf for TLS", false);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let tls = params.signed_by(&signer.pair, &issuer).unwrap();
        let deep = signer.certificate("deep", false, Some(&middle.issuer("middle")));
        let mut certified_jwk = signer.jwk.clone();
        certified_jwk["x5c"] = x5c(&[&leaf]);
        let by_certificate = trusting(Some(own.pem()), None);
        let by_key = trusting(Some(spki), None);
        let by_root = trusting(Some(root.pem()), None);
        let by_jwks = trusting(None, Some(json!([signer.jwk])));
        let by_name = trusting(None, Some(json!([ca.jwk, signer.named_jwk("2026-11")])));
        let ways = [
            ("certificate, libtrust", &by_certificate, json!({"kid": signer.libtrust()})),
            ("certificate, thumbprint", &by_certificate, json!({"kid": signer.thumbprint()})),
            ("public key, libtrust", &by_key, json!({"kid": signer.libtrust()})),
            ("public key, thumbprint", &by_key, json!({"kid": signer.thumbprint()})),
            ("set, thumbprint", &by_jwks, json!({"kid": signer.thumbprint()})),
            ("set, name", &by_name, json!({"kid": "2026-11"})),
            ("root itself as chain", &by_certificate, json!({"x5c": x5c(&[&own])})),
            ("leaf of root", &by_root, json!({"x5c": x5c(&[&leaf])})),
            ("leaf for TLS", &by_root, json!({"x5c": x5c(&[&tls])})),
            ("leaf and root", &by_root, json!({"x5c": x5c(&[&leaf, &root]), "kid": "unknown"})),
            ("leaf, intermediate", &by_root, json!({"x5c": x5c(&[&deep, &intermediate])})),
            ("trusted jwk", &by_jwks, json!({"jwk": signer.jwk})),
            ("certified jwk", &by_root, json!({"jwk": certified_jwk})),
        ];
        for &algorithm in algorithms {
            for (way, external, mut header) in ways.clone() {
                header["alg"] = json!(algorithm);
                header["typ"] = json!("JWT");
                let token = signer.sign(&header, &payload());
                assert_eq!(external.verify_now(&token), Ok(claims()), "{algorithm}: {way}");
            }
        }
    }
}

#[test]
fn claims_are_read_as_servers_write_them() {
    let signer = Signer::ed25519();
    let external = trusting(None, Some(json!([signer.named_jwk("k")])));
    let header = json!({"alg": "EdDSA", "kid": "k"});
    let anyone = Claims { subject: None, ..claims() };
    let nothing = Claims { access: Vec::new(), ..claims() };
    for (change, expected) in [
        (json!({}), claims()),
        (json!({"aud": ["other", "registry"]}), claims()),
        (json!({"sub": ""}), anyone.clone()),
        (json!({"sub": null}), anyone),
        (json!({"exp": NOW as f64 + 0.5, "nbf": NOW as f64 - 0.5, "iat": 1.79e9}), claims()),
        (json!({"exp": NOW - 60, "nbf": NOW + 60, "iat": NOW + 60}), claims()),
        (json!({"nbf": null, "iat": null}), claims()),
        (json!({"access": null}), nothing.clone()),
        (json!({"access": []}), nothing),
        (json!({"auth_type": {"deep": [1, {"x": null}]}, "typ": 1}), claims()),
    ] {
        assert_eq!(external.verify_now(&signer.sign(&header, &with(change.clone()))), Ok(expected), "{change}");
    }
    let resources = json!({"access": [
        {"type": "repository", "name": "a", "actions": null},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
        {"type": "repository", "name": "b"},
    ]});
    let read = external.verify_now(&signer.sign(&header, &with(resources))).unwrap();
    let read: Vec<_> = read.access.iter().map(|r| (&*r.kind, &*r.name, r.actions.len())).collect();
    assert_eq!(read, [("repository", "a", 0), ("registry", "catalog", 1), ("repository", "b", 0)]);
    let bare = json!({"iss": "tokens", "aud": "registry", "exp": NOW});
    assert_eq!(external.verify_now(&signer.sign(&header, &bare)), Ok(Claims { subject: None, access: Vec::new() }));
}

/// Vectors of RFC 7638 §3.1 and RFC 8037 §A.3; that of libtrust was computed by other programs.
#[test]
fn names_of_keys_are_those_of_the_standards() {
    let thumbprint = |jwk: Value| serde_json::from_value::<Jwk>(jwk).unwrap().public_key().unwrap().thumbprint();
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn\
             64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n9\
             1CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let rsa = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    assert_eq!(thumbprint(rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(thumbprint(ed), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let ours = Signer::rsa();
    assert_eq!(thumbprint(ours.jwk.clone()), "Pm-H3r6pRCxM7hHCNMtT3tPXg0MWhQPlBDT7vyB8VaY");
    assert_eq!(libtrust_id(&ours.spki()), "QQZG:PNYA:YWNH:ZIKY:BASU:LYLM:NZUF:UWT5:5RMT:IPBW:V2C3:VQQT");
}

/// One line of base64, as PEM allows.
fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}
