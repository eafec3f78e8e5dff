use super::*;
use TokenError::*;

/// A server with a key of each kind, and one that is not trusted.
struct World {
    external: External,
    rsa: Signer,
    root: Signer,
    ed: Signer,
    stranger: Signer,
}

impl World {
    fn new() -> Self {
        let [root, stranger] = [Signer::p256(), Signer::p256()];
        let (rsa, ed) = (Signer::rsa(), Signer::ed25519());
        let bundle = [rsa.certificate("rsa", true, None).pem(), root.certificate("root", true, None).pem()].concat();
        let external = trusting(Some(bundle), Some(json!([ed.named_jwk("ed")])));
        Self { external, rsa, root, ed, stranger }
    }

    fn check(&self, cases: Vec<(&str, String, TokenError)>) {
        for (name, token, expected) in cases {
            assert_eq!(self.external.verify_now(&token), Err(expected), "{name}: {token}");
        }
    }

    /// A token of the good server.
    fn signed(&self, payload: &Value) -> String {
        self.ed.sign(&json!({"alg": "EdDSA", "kid": "ed"}), payload)
    }
}

fn part(json: impl ToString) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

#[test]
fn no_algorithm_without_a_public_key_is_known() {
    let world = World::new();
    let mut cases = Vec::new();
    for name in [
        "none", "None", "NONE", "nOnE", "", " none", "null", "HS256", "hs256", "HS384", "HS512", "ES512", "ES256K",
        "RSA-OAEP", "rs256",
    ] {
        for header in
            [json!({"alg": name, "kid": world.rsa.libtrust()}), json!({"alg": name}), json!({"alg": name, "kid": "ed"})]
        {
            let message = format!("{}.{}", part(&header), part(payload()));
            cases.push(("empty", format!("{message}."), Algorithm));
            cases.push(("some", format!("{message}.AAAA"), Algorithm));
            let (_, _, good) =
                parts(&world.signed(&payload())).map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).unwrap();
            cases.push(("another's", format!("{message}.{good}"), Algorithm));
        }
    }
    let public_pem = rcgen_public_pem(&world.rsa);
    let x = world.ed.jwk["x"].as_str().unwrap();
    for (name, secret) in [
        ("empty key", Vec::new()),
        ("public key as PEM", public_pem.clone().into_bytes()),
        ("public key as PEM, no newline", public_pem.trim_end().as_bytes().to_vec()),
        ("public key as DER", world.rsa.spki()),
        ("public key as bytes", world.ed.pair.public_key_raw().to_vec()),
        ("public key as base64", x.as_bytes().to_vec()),
        ("certificate", world.rsa.certificate("rsa", true, None).pem().into_bytes()),
    ] {
        let signer = Signer { signing: EncodingKey::from_secret(&secret), ..Signer::ed25519() };
        for algorithm in ["HS256", "HS384", "HS512"] {
            for kid in [world.rsa.libtrust(), world.rsa.thumbprint(), "ed".to_owned()] {
                cases.push((name, signer.sign(&json!({"alg": algorithm, "kid": kid}), &payload()), Algorithm));
            }
        }
        let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(&secret)});
        cases.push((name, signer.sign(&json!({"alg": "HS256", "jwk": jwk}), &payload()), Algorithm));
    }
    world.check(cases);
}

#[test]
fn the_key_and_the_operator_decide_the_algorithm() {
    let mut world = World::new();
    let named = |alg: &str, signer: &Signer| json!({"alg": alg, "kid": signer.libtrust()});
    let elliptic = Signer::p384();
    let leaf = world.rsa.certificate("leaf", false, Some(&world.root.issuer("root")));
    let mut jwk = world.rsa.jwk.clone();
    jwk["use"] = json!("sig");
    world.check(vec![
        ("RSA key named", world.root.sign(&named("ES256", &world.rsa), &payload()), Algorithm),
        ("EC key named", world.rsa.sign(&named("RS256", &world.root), &payload()), Algorithm),
        ("other curve", elliptic.sign(&named("ES384", &world.root), &payload()), Algorithm),
        ("Ed key named", world.root.sign(&json!({"alg": "ES256", "kid": "ed"}), &payload()), Algorithm),
        ("RSA leaf", world.root.sign(&json!({"alg": "ES256", "x5c": x5c(&[&leaf])}), &payload()), Algorithm),
        ("RSA jwk", world.root.sign(&json!({"alg": "ES256", "jwk": jwk}), &payload()), Algorithm),
    ]);
    let good = world.rsa.sign(&named("RS256", &world.rsa), &payload());
    assert_eq!(world.external.verify_now(&good), Ok(claims()));
    world.external.config.algorithms = vec![crate::config::SigningAlgorithm::Ps256];
    assert_eq!(world.external.verify_now(&good), Err(Algorithm));
    let good = world.rsa.sign(&named("PS256", &world.rsa), &payload());
    assert_eq!(world.external.verify_now(&good), Ok(claims()));
}

#[test]
fn a_key_that_comes_with_the_token_is_not_trusted() {
    let world = World::new();
    let stranger = &world.stranger;
    let root = world.root.certificate("root", true, None);
    let false_root = stranger.certificate("root", true, None);
    let other = Signer::p256();
    let false_leaf = other.certificate("leaf", false, Some(&stranger.issuer("root")));
    let leaf = other.certificate("leaf", false, Some(&world.root.issuer("root")));
    let of_leaf = stranger.certificate("below", false, Some(&other.issuer("leaf")));
    let dated = |from: i32, to: i32| {
        let mut params = params("leaf", false);
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        x5c(&[&params.signed_by(&other.pair, &world.root.issuer("root")).unwrap()])
    };
    let mut certified = stranger.jwk.clone();
    certified["x5c"] = x5c(&[&false_root]);
    let mut of_another = stranger.jwk.clone();
    of_another["x5c"] = x5c(&[&leaf]);
    let sign = |signer: &Signer, mut header: Value| {
        header["alg"] = json!("ES256");
        signer.sign(&header, &payload())
    };
    let trusted_kid = world.root.libtrust();
    world.check(vec![
        ("nothing named", sign(&world.root, json!({})), UnknownKey),
        ("own jwk", sign(stranger, json!({"jwk": stranger.jwk})), UnknownKey),
        ("own jwk, unknown kid", sign(stranger, json!({"jwk": stranger.jwk, "kid": "x"})), UnknownKey),
        ("own jwk, its kid", sign(stranger, json!({"jwk": stranger.named_jwk(&trusted_kid)})), UnknownKey),
        ("own jwk, trusted kid", sign(stranger, json!({"jwk": stranger.jwk, "kid": trusted_kid})), Signature),
        ("trusted jwk", sign(stranger, json!({"jwk": world.root.jwk})), Signature),
        ("jwk with own chain", sign(stranger, json!({"jwk": certified})), UnknownKey),
        ("jwk with another's chain", sign(stranger, json!({"jwk": of_another})), UnknownKey),
        ("secret jwk", sign(stranger, json!({"jwk": {"kty": "oct", "k": "AAAA"}})), UnknownKey),
        ("empty jwk", sign(stranger, json!({"jwk": {"kty": ""}})), UnknownKey),
        ("jwk of no type", sign(stranger, json!({"jwk": {}})), Malformed),
        ("jwk text", sign(stranger, json!({"jwk": "x"})), Malformed),
        ("false root", sign(stranger, json!({"x5c": x5c(&[&false_root])})), UnknownKey),
        ("false root, true root", sign(stranger, json!({"x5c": x5c(&[&false_root, &root])})), UnknownKey),
        ("leaf of a false root", sign(&other, json!({"x5c": x5c(&[&false_leaf, &false_root])})), UnknownKey),
        ("leaf of a false root, true root", sign(&other, json!({"x5c": x5c(&[&false_leaf, &root])})), UnknownKey),
        ("leaf of a leaf", sign(stranger, json!({"x5c": x5c(&[&of_leaf, &leaf, &root])})), UnknownKey),
        ("leaf that has ended", sign(&other, json!({"x5c": dated(2000, 2020)})), UnknownKey),
        ("leaf to come", sign(&other, json!({"x5c": dated(2040, 2050)})), UnknownKey),
        ("another's leaf", sign(stranger, json!({"x5c": x5c(&[&leaf])})), Signature),
        ("true root first", sign(stranger, json!({"x5c": x5c(&[&root, &false_root])})), Signature),
        ("no certificate", sign(stranger, json!({"x5c": []})), Malformed),
        ("no list", sign(stranger, json!({"x5c": STANDARD.encode(leaf.der())})), Malformed),
        ("no base64", sign(stranger, json!({"x5c": ["!"]})), Malformed),
        ("no DER", sign(stranger, json!({"x5c": ["AAAA"]})), Malformed),
        ("cut DER", sign(stranger, json!({"x5c": [STANDARD.encode(&leaf.der()[..99])]})), Malformed),
        ("long chain", sign(&other, json!({"x5c": x5c(&[&leaf; 11])})), Malformed),
        ("twice in the chain", sign(&other, json!({"x5c": x5c(&[&leaf, &root, &root])})), UnknownKey),
        ("trusted kid", sign(stranger, json!({"kid": world.root.libtrust()})), Signature),
        ("kid in lower case", sign(&world.root, json!({"kid": world.root.libtrust().to_lowercase()})), UnknownKey),
        ("path as kid", sign(stranger, json!({"kid": "../../../dev/null"})), UnknownKey),
        ("SQL as kid", sign(stranger, json!({"kid": "' UNION SELECT 'x"})), UnknownKey),
        ("empty kid", sign(stranger, json!({"kid": ""})), UnknownKey),
        ("null kid", sign(stranger, json!({"kid": null})), UnknownKey),
        ("number as kid", sign(stranger, json!({"kid": 1})), Malformed),
        ("list as kid", sign(stranger, json!({"kid": [trusted_kid]})), Malformed),
        ("crit", sign(&world.root, json!({"kid": trusted_kid, "crit": ["exp"]})), Malformed),
        ("empty crit", sign(&world.root, json!({"kid": trusted_kid, "crit": []})), Malformed),
        ("null crit", sign(&world.root, json!({"kid": trusted_kid, "crit": null})), Malformed),
    ]);
}

#[test]
fn no_address_in_a_token_is_asked() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let header = json!({"alg": "ES256", "kid": "x", "jku": url, "x5u": url, "iss": url});
    world.check(vec![("jku and x5u", world.stranger.sign(&header, &with(json!({"iss": url}))), UnknownKey)]);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_token_is_for_one_service_of_one_issuer_at_one_time() {
    let world = World::new();
    for (change, expected) in [
        (json!({"iss": "others"}), Issuer),
        (json!({"iss": "Tokens"}), Issuer),
        (json!({"iss": ""}), Issuer),
        (json!({"iss": null}), Issuer),
        (json!({"iss": ["tokens"]}), Malformed),
        (json!({"iss": 1}), Malformed),
        (json!({"aud": "other"}), Audience),
        (json!({"aud": "registry2"}), Audience),
        (json!({"aud": []}), Audience),
        (json!({"aud": null}), Audience),
        (json!({"aud": ["other"]}), Audience),
        (json!({"aud": [["registry"]]}), Malformed),
        (json!({"aud": {"registry": true}}), Malformed),
        (json!({"aud": ["registry", 1]}), Malformed),
        (json!({"exp": NOW - 61}), Expired),
        (json!({"exp": 0}), Expired),
        (json!({"exp": -1}), Expired),
        (json!({"exp": -1e300}), Expired),
        (json!({"exp": null}), Malformed),
        (json!({"exp": "2000000000"}), Malformed),
        (json!({"exp": true}), Malformed),
        (json!({"exp": {}}), Malformed),
        (json!({"nbf": NOW + 61}), NotYet),
        (json!({"nbf": 1e300}), NotYet),
        (json!({"nbf": "0"}), Malformed),
        (json!({"nbf": []}), Malformed),
        (json!({"iat": NOW + 61}), NotYet),
        (json!({"iat": false}), Malformed),
        (json!({"sub": 7}), Malformed),
        (json!({"sub": {}}), Malformed),
        (json!({"access": {}}), Malformed),
        (json!({"access": "repository:a:pull"}), Malformed),
        (json!({"access": [null]}), Malformed),
        (json!({"access": [{}]}), Malformed),
        (json!({"access": [{"type": "repository", "name": 1, "actions": []}]}), Malformed),
        (json!({"access": [{"type": "repository", "name": null, "actions": []}]}), Malformed),
        (json!({"access": [{"type": "repository", "name": "a", "actions": "pull"}]}), Malformed),
        (json!({"access": [{"type": "repository", "name": "a", "actions": [1]}]}), Malformed),
    ] {
        assert_eq!(world.external.verify_now(&world.signed(&with(change.clone()))), Err(expected), "{change}");
    }
    for (name, expected) in [("iss", Issuer), ("aud", Audience), ("exp", Malformed)] {
        let mut payload = payload();
        payload.as_object_mut().unwrap().remove(name);
        assert_eq!(world.external.verify_now(&world.signed(&payload)), Err(expected), "{name}");
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    let world = World::new();
    let good = world.signed(&payload());
    let (header, body, signature) = parts(&good).unwrap();
    let raw = |header: &str, payload: &str| world.ed.sign_raw(header, payload, jsonwebtoken::Algorithm::EdDSA);
    let known = r#"{"alg":"EdDSA","kid":"ed"}"#;
    let text = payload().to_string();
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let nested = |name: &str| raw(known, &text.replacen('{', &format!("{{\"{name}\":{},", deep(4000)), 1));
    let mut cases = vec![
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("one part", header.to_owned()),
        ("two parts", format!("{header}.{body}")),
        ("four parts", format!("{good}.")),
        ("five parts", format!("{good}.a.b")),
        ("thousands of dots", ".".repeat(10_000)),
        ("more dots than fit", ".".repeat(30_000)),
        ("100 KiB", format!("{good}{}", "A".repeat(100 << 10))),
        ("100 KiB of header", format!("{}.{body}.{signature}", "A".repeat(100 << 10))),
        ("one byte too long", format!("{header}.{}.", "A".repeat(TOKEN_BYTES_MAX - header.len() - 1))),
        ("padding", format!("{good}=")),
        ("a space before", format!(" {good}")),
        ("a newline after", format!("{good}\n")),
        ("base64 of another alphabet", format!("{header}.{body}.{}", "+/".repeat(43))),
        ("no UTF-8", format!("{}.{body}.{signature}", URL_SAFE_NO_PAD.encode([b'{', b'"', 0xff, b'"', b'}']))),
        ("header array", raw(r#"["EdDSA","ed",null,null]"#, &text)),
        ("header null", raw("null", &text)),
        ("header empty", raw("", &text)),
        ("header {}", raw("{}", &text)),
        ("alg null", raw(r#"{"alg":null,"kid":"ed"}"#, &text)),
        ("alg list", raw(r#"{"alg":["EdDSA"],"kid":"ed"}"#, &text)),
        ("alg twice", raw(r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#, &text)),
        ("kid twice", raw(r#"{"alg":"EdDSA","kid":"ed","kid":"x"}"#, &text)),
        ("two headers", raw(&format!("{known}{known}"), &text)),
        ("payload array", raw(known, r#"["tokens","registry",null,9e9,null,null,null]"#)),
        ("payload null", raw(known, "null")),
        ("payload empty", raw(known, "")),
        ("payload cut", raw(known, &text[..text.len() - 1])),
        ("payload text", raw(known, "\"x\"")),
        ("huge number", raw(known, &text.replace(&(NOW + 300).to_string(), "1e400"))),
        ("not a number", raw(known, &text.replace(&(NOW + 300).to_string(), "NaN"))),
        ("deep audience", nested("aud")),
        ("deep access", nested("access")),
    ];
    for (name, value) in [("iss", "\"x\""), ("aud", "\"x\""), ("exp", "9e9"), ("sub", "\"x\""), ("access", "[]")] {
        cases.push((name, raw(known, &text.replacen('{', &format!("{{\"{name}\":{value},"), 1))));
    }
    world.check(cases.into_iter().map(|(name, token)| (name, token, Malformed)).collect());
    let unknown = nested("unheard");
    assert_eq!(world.external.verify_now(&unknown), Ok(claims()), "what is not read may be anything");
}

#[test]
fn a_changed_token_is_not_that_of_its_signature() {
    let world = World::new();
    let named = |alg: &str, signer: &Signer| json!({"alg": alg, "kid": signer.libtrust()});
    for (alg, signer, length) in [("RS256", &world.rsa, 256), ("PS256", &world.rsa, 256), ("ES256", &world.root, 64)] {
        let good = signer.sign(&named(alg, signer), &payload());
        assert_eq!(world.external.verify_now(&good), Ok(claims()));
        let (header, body, signature) = parts(&good).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert_eq!(bytes.len(), length);
        let with_signature = |bytes: &[u8]| format!("{header}.{body}.{}", URL_SAFE_NO_PAD.encode(bytes));
        let mut one_bit = bytes.clone();
        one_bit[7] ^= 1;
        let mut longer = bytes.clone();
        longer.push(0);
        let other_header = part(json!({"alg": alg, "kid": signer.libtrust(), "typ": "JWT"}));
        world.check(vec![
            ("other payload", format!("{header}.{}.{signature}", part(with(json!({"sub": "eve"})))), Signature),
            ("other header", format!("{other_header}.{body}.{signature}"), Signature),
            ("empty", with_signature(&[]), Signature),
            ("zeros", with_signature(&vec![0; length]), Signature),
            ("ones", with_signature(&vec![0xff; length]), Signature),
            ("one", with_signature(&[&vec![0; length - 1][..], &[1]].concat()), Signature),
            ("r = s = 1", with_signature(&[&[0; 31][..], &[1], &[0; 31], &[1]].concat()), Signature),
            ("cut", with_signature(&bytes[..length - 1]), Signature),
            ("longer", with_signature(&longer), Signature),
            ("one bit", with_signature(&one_bit), Signature),
        ]);
        for end in 0..good.len() {
            assert!(world.external.verify_now(&good[..end]).is_err(), "{end}");
        }
    }
}

fn rcgen_public_pem(signer: &Signer) -> String {
    signer.pair.public_key_pem()
}
