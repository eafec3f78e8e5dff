//! Documents that are no manifests, or two at once, or too large; and odd ones that must be kept byte for byte.

use super::*;
use flotilla_tests::http::digest_of;
use sha2::{Digest, Sha512};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const REPO: &str = "man/app";
const MIB_4: usize = 4 << 20;
/// How much the largest bodies may add to a node's memory.
const FLAT: u64 = 48 << 20;

const INVALID: &str = "MANIFEST_INVALID";
const MISSING: &str = "MANIFEST_BLOB_UNKNOWN";

fn put_as(kind: &str, reference: &str, body: impl AsRef<[u8]>) -> Request {
    put(format!("/v2/{REPO}/manifests/{reference}"), body).with("content-type", kind)
}

fn bad(name: impl Into<String>, kind: &str, body: impl AsRef<[u8]>) -> Case {
    case(name, put_as(kind, "bad", body), no(400, INVALID))
}

fn descriptor(kind: &str, digest: &str, size: usize) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
}

/// What the documents are made of: a pushed config and a pushed layer.
struct Parts {
    config: String,
    layer: String,
    config_digest: String,
    layer_digest: String,
    config_size: usize,
    layer_size: usize,
    absent: String,
}

impl Parts {
    /// An image with more fields.
    fn image(&self, rest: &str) -> String {
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI}","config":{},"layers":[{}]{rest}}}"#, self.config, self.layer)
    }

    fn with_config(&self, config: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, self.layer)
    }

    fn with_layers(&self, layers: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{},"layers":{layers}}}"#, self.config)
    }

    fn with_size(&self, size: &str) -> String {
        self.with_config(&format!(r#"{{"mediaType":"c","digest":"{}","size":{size}}}"#, self.config_digest))
    }

    fn with_digest(&self, digest: &str) -> String {
        self.with_config(&format!(r#"{{"mediaType":"c","digest":{digest},"size":2}}"#))
    }
}

fn index(children: &[String], rest: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]{rest}}}"#, children.join(","))
}

/// Documents that no reader should take, and each for which two readers might see two things.
fn refused(parts: &Parts) -> Vec<Case> {
    let image = parts.image("");
    let plain = image.replace(&format!(r#""mediaType":"{OCI}","#), "");
    let (config, layer) = (&parts.config, &parts.layer);
    let child = descriptor(OCI, &parts.absent, 2);
    let mut cases = vec![
        bad("empty", OCI, ""),
        bad("spaces", OCI, "   \r\n"),
        bad("no JSON", OCI, "<html>"),
        bad("null", OCI, "null"),
        bad("a list", OCI, "[]"),
        bad("a list of one", OCI, format!("[{image}]")),
        bad("a text", OCI, "\"x\""),
        bad("a number", OCI, "2"),
        bad("nothing in it", OCI, "{}"),
        bad("nothing in it", INDEX, "{}"),
        bad("cut short", OCI, &image[..image.len() - 1]),
        bad("cut in the middle", OCI, &image[..image.len() / 2]),
        bad("two documents", OCI, format!("{image}{image}")),
        bad("trailing data", OCI, format!("{image}x")),
        bad("a trailing NUL", OCI, format!("{image}\0")),
        bad("a trailing comma", OCI, parts.image(",")),
        bad("a comment", OCI, format!("/* a */{image}")),
        bad("byte order mark", OCI, format!("\u{feff}{image}")),
        bad("UTF-16", OCI, image.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
        bad("no UTF-8", OCI, [parts.image(r#","x":""#).trim_end_matches('}').as_bytes(), b"\xff\xfe\"}"].concat()),
        bad("half a surrogate", OCI, parts.image(r#","x":"\ud800""#)),
        bad("a control character", OCI, parts.image(",\"x\":\"a\nb\"")),
        bad("single quotes", OCI, image.replace('"', "'")),
        bad("NaN", OCI, parts.image(r#","x":NaN"#)),
        bad("1e400", OCI, parts.image(r#","x":1e400"#)),
        bad("-1e400", OCI, parts.image(r#","x":[-1e400]"#)),
        bad("a leading zero", OCI, parts.image(r#","x":01"#)),
        bad("duplicate key", OCI, parts.image(r#","schemaVersion":2"#)),
        bad("duplicate layers", OCI, parts.image(r#","layers":[]"#)),
        bad("duplicate config", OCI, parts.image(&format!(r#","config":{config}"#))),
        bad("duplicate media type", OCI, parts.image(&format!(r#","mediaType":"{OCI}""#))),
        bad("duplicate key, escaped", OCI, parts.image(r#","laye\u0072s":[]"#)),
        bad("duplicate key, deep", OCI, parts.image(r#","x":[{"a":1,"a":2}]"#)),
        bad("duplicate annotation", OCI, parts.image(r#","annotations":{"a":"1","a":"2"}"#)),
        // Many readers do not tell upper from lower case in keys.
        bad("key in another case", OCI, parts.image(r#","Layers":[]"#)),
        bad("key in another case", OCI, parts.image(r#","CONFIG":{}"#)),
        bad("key in another case", OCI, parts.image(r#","Manifests":[]"#)),
        bad("key in another case", INDEX, index(&[], r#","Layers":[]"#)),
        bad("key in another case", INDEX, index(&[], r#","manifestS":[]"#)),
        bad("key in another case", OCI, parts.image(&format!(r#","MediaType":"{INDEX}""#))),
        bad("key in another case", OCI, parts.image(r#","Subject":{}"#)),
        bad("key in another case", OCI, parts.image(r#","SchemaVersion":1"#)),
        bad("key with a long s", OCI, parts.image(r#","layerſ":[]"#)),
        bad(
            "key in another case",
            OCI,
            parts.with_layers(&format!("[{}]", layer.replacen('{', &format!(r#"{{"Digest":"{}","#, parts.absent), 1))),
        ),
        bad("key in another case", OCI, parts.with_config(&config.replacen('{', r#"{"SIZE":1,"#, 1))),
        bad("both field sets", OCI, parts.image(r#","manifests":[]"#)),
        bad("both field sets", INDEX, parts.image(r#","manifests":[]"#).replace(OCI, INDEX)),
        bad("both field sets", INDEX, index(&[], r#","layers":[]"#)),
        bad("both field sets", INDEX, index(&[], &format!(r#","config":{config}"#))),
        bad("both field sets", LIST, index(&[], r#","config":null"#).replace(INDEX, LIST)),
        bad("both field sets, null", OCI, parts.image(r#","manifests":null"#)),
        bad("both field sets, no media type", OCI, plain.replace("\"layers\"", "\"manifests\":[],\"layers\"")),
        bad("schema 1", OCI, r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[],"history":[]}"#),
        bad("schema 1", "application/vnd.docker.distribution.manifest.v1+json", r#"{"schemaVersion":1,"fsLayers":[]}"#),
        bad(
            "schema 1",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            r#"{"schemaVersion":1,"signatures":[]}"#,
        ),
        bad("schema 1 in schema 2", DOCKER, plain.replace("\"layers\"", "\"fsLayers\":[],\"layers\"")),
        bad("an image as an index", INDEX, &image),
        bad("an image as an index", INDEX, &plain),
        bad("an image as a list", LIST, &plain),
        bad("an index as an image", OCI, index(&[], "")),
        bad("an index as an image", OCI, r#"{"schemaVersion":2,"manifests":[]}"#),
        bad("docker as OCI", OCI, image.replace(OCI, DOCKER)),
        bad("OCI as docker", DOCKER, &image),
        bad("a list as an index", INDEX, index(&[], "").replace(INDEX, LIST)),
        bad("other type", "application/json", &image),
        bad("other type", "application/json", &plain),
        bad("other type", "text/html", &plain),
        bad("other type", "application/octet-stream", &plain),
        bad("other type", "application/vnd.oci.image.config.v1+json", &plain),
        bad("other type", "*/*", &plain),
        bad("other type", "x", &plain),
        bad("two types", &format!("{OCI}, {INDEX}"), &plain),
        bad("other type in the document", OCI, image.replace(OCI, "text/html")),
        bad("other type in both", "text/html", image.replace(OCI, "text/html")),
        bad("no config", OCI, format!(r#"{{"schemaVersion":2,"layers":[{layer}]}}"#)),
        bad("no manifests", INDEX, r#"{"schemaVersion":2}"#),
        bad("no schema version", OCI, image.replace("\"schemaVersion\":2,", "")),
        bad("a null in layers", OCI, parts.with_layers("[null]")),
        bad("a list in layers", OCI, parts.with_layers(&format!("[[{layer}]]"))),
        bad("a text in layers", OCI, parts.with_layers(&format!(r#"["{}"]"#, parts.layer_digest))),
        bad("a null in manifests", INDEX, index(&["null".into()], "")),
        bad(
            "one digest, two sizes",
            OCI,
            parts.with_layers(&format!("[{layer},{}]", descriptor("l", &parts.layer_digest, parts.layer_size + 1))),
        ),
        bad("no digest", OCI, parts.with_config(r#"{"mediaType":"c","size":2}"#)),
        bad("no size", OCI, parts.with_config(&format!(r#"{{"mediaType":"c","digest":"{}"}}"#, parts.config_digest))),
        bad("deep", OCI, parts.image(&format!(r#","x":{}{}"#, "[".repeat(100_000), "]".repeat(100_000)))),
        bad("deep", OCI, parts.image(&format!(r#","x":{}1{}"#, r#"{"a":"#.repeat(100_000), "}".repeat(100_000)))),
        bad("deep and not closed", OCI, "[".repeat(1_000_000)),
        bad("10,001 layers", OCI, parts.with_layers(&format!("[{}]", vec![layer.as_str(); 10_001].join(",")))),
        bad("10,001 manifests", INDEX, index(&vec![child.clone(); 10_001], "")),
        bad("a bad subject", OCI, parts.image(r#","subject":{"digest":"x","size":1}"#)),
        bad("a bad subject", OCI, parts.image(&format!(r#","subject":{{"digest":"{}","size":-1}}"#, parts.absent))),
        bad("a bad subject", INDEX, index(&[], r#","subject":{}"#)),
        bad("HTML as a tag of a type", OCI, image.replace(OCI, "<script>alert(1)</script>")),
        bad("HTML as a type", "<script>alert(1)</script>", &plain),
        bad("HTML as a digest", OCI, parts.with_digest(r#""<img src=x onerror=alert(1)>""#)),
    ];
    for size in [
        "-1",
        "1.5",
        "2.0",
        "2e0",
        "9223372036854775808",
        "18446744073709551616",
        "1e3",
        "\"2\"",
        "null",
        "{}",
        "[]",
        "true",
        "-0.5",
    ] {
        cases.push(bad(format!("size {size}"), OCI, parts.with_size(size)));
    }
    for size in [0, 1, parts.config_size - 1, parts.config_size + 1, 1 << 40] {
        cases.push(bad(format!("a size that is not the blob's: {size}"), OCI, parts.with_size(&size.to_string())));
    }
    let (a64, upper) = ("a".repeat(64), "A".repeat(64));
    for digest in [
        "null".into(),
        "{}".into(),
        "[]".into(),
        "7".into(),
        r#""""#.into(),
        r#""sha256:""#.into(),
        r#""../../etc/passwd""#.into(),
        format!(r#""{a64}""#),
        format!(r#""sha256:{upper}""#),
        format!(r#""SHA256:{a64}""#),
        format!(r#""sha256:{a64} ""#),
        format!(r#""sha256:{a64}\u0000""#),
        format!(r#""sha256:{a64}a""#),
        format!(r#""md5:{}""#, "a".repeat(32)),
        format!(r#""sha512:{a64}""#),
        format!(r#""sha256:{}""#, "../".repeat(21)),
        format!(r#""sha256:{}/""#, &a64[1..]),
        format!(r#""sha256%3A{a64}""#),
        format!(r#""blake3:{a64}""#),
    ] {
        cases.push(bad(format!("digest {digest}"), OCI, parts.with_digest(&digest)));
    }
    // null, {} and [] in every place where they mean something else.
    for (field, values) in [
        ("schemaVersion", vec!["null", "{}", "[]", "\"2\"", "2.0", "3", "0", "-2", "true", "[2]", "1"]),
        ("mediaType", vec!["{}", "[]", "7", "true", "[\"a\"]"]),
        ("config", vec!["null", "{}", "[]", "7", "\"x\"", "true"]),
        ("layers", vec!["{}", "7", "\"x\"", "true", "[{}]", "[[]]", "[7]"]),
        ("subject", vec!["{}", "[]", "7", "\"x\"", "true"]),
        (
            "annotations",
            vec![
                "[]",
                "7",
                "\"x\"",
                "true",
                r#"{"a":null}"#,
                r#"{"a":1}"#,
                r#"{"a":{}}"#,
                r#"{"a":[]}"#,
                r#"{"a":true}"#,
            ],
        ),
        ("artifactType", vec!["{}", "[]", "7", "true"]),
    ] {
        for value in values {
            let mut fields = vec![("schemaVersion", "2"), ("config", config.as_str()), ("layers", "[]")];
            fields.retain(|(name, _)| *name != field);
            fields.push((field, value));
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
            cases.push(bad(format!("{field}: {value}"), OCI, format!("{{{}}}", fields.join(","))));
        }
    }
    for value in ["{}", "7", "\"x\"", "[7]", "[[]]", "[{}]"] {
        cases.push(bad(format!("manifests: {value}"), INDEX, format!(r#"{{"schemaVersion":2,"manifests":{value}}}"#)));
    }
    cases
}

/// References to what the repository does not hold: one error each.
fn incomplete(parts: &Parts) -> Vec<Case> {
    let none = |byte: u8| format!("sha256:{}", hex::encode([byte; 32]));
    let missing = |name: &str, kind: &str, body: String, count: usize| {
        case(name, put_as(kind, "bad", body), no(400, MISSING).errors(count))
    };
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let urls = |kind: &str, urls: &str| {
        parts.with_layers(&format!(r#"[{{"mediaType":"{kind}","digest":"{}","size":1,"urls":{urls}}}]"#, none(9)))
    };
    let layers: Vec<_> = (0..5).map(|n| descriptor("l", &none(n), 1)).collect();
    let children: Vec<_> = (0..4).map(|n| descriptor(OCI, &none(n), 1)).collect();
    let blobs: Vec<_> =
        (0..3).map(|n| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &none(n), 1)).collect();
    let as_child = descriptor(OCI, &parts.config_digest, parts.config_size);
    vec![
        missing("a missing config", OCI, parts.with_config(&descriptor("c", &none(1), 1)), 1),
        missing("five missing layers", OCI, parts.with_layers(&format!("[{}]", layers.join(","))), 5),
        missing("a layer missing twice", OCI, parts.with_layers(&format!("[{0},{0}]", layers[0])), 1),
        missing(
            "a missing layer of sha512",
            OCI,
            parts.with_layers(&format!("[{}]", descriptor("l", &format!("sha512:{}", "0".repeat(128)), 1))),
            1,
        ),
        missing(
            "a huge missing layer",
            OCI,
            parts.with_layers(&format!(r#"[{{"digest":"{}","size":9223372036854775807}}]"#, none(1))),
            1,
        ),
        missing("four missing children", INDEX, index(&children, ""), 4),
        missing("missing children of a list", LIST, index(&children, "").replace(INDEX, LIST), 4),
        missing("missing blobs of an index", INDEX, index(&blobs, ""), 3),
        missing(
            "missing children and blobs",
            INDEX,
            index(&[&children[..], &blobs[..1]].concat().into_iter().skip(1).collect::<Vec<_>>(), ""),
            4,
        ),
        missing("a blob as a child", INDEX, index(&[as_child], ""), 1),
        missing("foreign without urls", OCI, parts.with_layers(&format!("[{}]", descriptor(foreign, &none(9), 1))), 1),
        missing("foreign with no urls", OCI, urls(foreign, "[]"), 1),
        missing("foreign with null urls", OCI, urls(foreign, "null"), 1),
        missing(
            "an ordinary layer with urls",
            OCI,
            urls("application/vnd.oci.image.layer.v1.tar", r#"["https://example.org/x"]"#),
            1,
        ),
        missing(
            "a config with urls",
            OCI,
            parts.with_config(&format!(
                r#"{{"mediaType":"{foreign}","digest":"{}","size":1,"urls":["https://example.org/x"]}}"#,
                none(9)
            )),
            1,
        ),
    ]
}

/// Odd documents that are manifests, with their types.
fn accepted(parts: &Parts) -> Vec<(&'static str, &'static str, String)> {
    let (config, layer) = (&parts.config, &parts.layer);
    let plain = parts.image("").replace(&format!(r#""mediaType":"{OCI}","#), "");
    let foreign = |kind: &str| {
        let far = format!(
            r#"{{"mediaType":"{kind}","digest":"{}","size":1,"urls":["https://example.org/x"]}}"#,
            parts.absent
        );
        parts.with_layers(&format!("[{layer},{far}]"))
    };
    let cache_layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &parts.layer_digest, parts.layer_size);
    let cache_config = descriptor("application/vnd.buildkit.cacheconfig.v0", &parts.config_digest, parts.config_size);
    let many_keys: Vec<_> = (0..200_000).map(|n| format!(r#""{n}":0"#)).collect();
    vec![
        ("plain", OCI, parts.image("")),
        ("no mediaType", OCI, plain.clone()),
        ("docker without mediaType", DOCKER, plain.clone() + " "),
        ("docker", DOCKER, parts.image("").replace(OCI, DOCKER)),
        ("an empty mediaType", OCI, parts.image("").replace(&format!(r#""mediaType":"{OCI}""#), r#""mediaType":"""#)),
        ("a null mediaType", OCI, parts.image("").replace(&format!(r#""mediaType":"{OCI}""#), r#""mediaType":null"#)),
        ("spaces around", OCI, format!("\r\n\t {} \n\n", parts.image(""))),
        ("spaces inside", OCI, parts.image("").replace(':', " :\t ").replace("sha256 :\t ", "sha256:")),
        ("another order", OCI, format!(r#"{{"layers":[{layer}],"config":{config},"schemaVersion":2}}"#)),
        ("escapes", OCI, plain.replace("layers", "l\\u0061yers").replace("sha256", "sh\\u0061256")),
        ("unknown fields", OCI, parts.image(r#","x":{"y":[1,2.50,-0,1e3,null,true,"\u00e9é\/"]},"":"","é":"","fields":{"Layers":1}"#)),
        ("a NUL in a text", OCI, parts.image(r#","annotations":{"a\u0000":"b\u0000\r\n"}"#)),
        ("HTML in texts", OCI, parts.image(r#","annotations":{"<script>alert(1)</script>":"<img src=x onerror=alert(1)>"},"artifactType":"text/html""#)),
        ("no layers in it", OCI, parts.with_layers("[]")),
        ("null layers", OCI, parts.with_layers("null")),
        ("null for what may be absent", OCI, parts.image(r#","subject":null,"annotations":null,"artifactType":null"#)),
        ("empty annotations", OCI, parts.image(r#","annotations":{}"#)),
        ("one layer twice", OCI, parts.with_layers(&format!("[{layer},{layer}]"))),
        ("the config as a layer", OCI, parts.with_layers(&format!("[{config}]"))),
        ("9,999 layers", OCI, parts.with_layers(&format!("[{}]", vec![layer.as_str(); 9_999].join(",")))),
        ("200,000 keys", OCI, parts.image(&format!(r#","x":{{{}}}"#, many_keys.join(",")))),
        ("a missing subject", OCI, parts.image(&format!(r#","subject":{}"#, descriptor(OCI, &parts.absent, 7)))),
        ("a blob as the subject", OCI, parts.image(&format!(r#","subject":{}"#, descriptor(OCI, &parts.layer_digest, parts.layer_size)))),
        ("an index with a subject", INDEX, index(&[], &format!(r#","subject":{}"#, descriptor(OCI, &parts.absent, 7)))),
        ("foreign layers", DOCKER, foreign("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")),
        ("foreign layers", OCI, foreign("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd")),
        ("a data field", OCI, parts.with_config(&config.replacen('{', r#"{"data":"e30=","#, 1))),
        ("unknown fields of a descriptor", OCI, parts.with_config(&config.replacen('{', r#"{"platform":{"os":"x"},"urls":null,"annotations":{},"z":1,"#, 1))),
        ("a config of an unknown type", OCI, parts.with_config(&descriptor("application/vnd.example+x", &parts.config_digest, parts.config_size))),
        ("an empty index", INDEX, index(&[], "")),
        ("an empty list", LIST, index(&[], "").replace(INDEX, LIST)),
        ("null manifests", INDEX, r#"{"schemaVersion":2,"manifests":null}"#.into()),
        ("a cache of buildkit", INDEX, index(&[cache_layer, cache_config], "")),
        ("an artifact type", OCI, parts.image(r#","artifactType":"application/vnd.example+x""#)),
    ]
}

#[tokio::test]
async fn manifests_that_are_none_are_refused_and_odd_ones_are_kept_byte_for_byte() {
    let mut battery = Battery::start("manifests").await;
    let (config, layer) = (b"{}".as_slice(), b"a layer".as_slice());
    let (config_digest, layer_digest) = (battery.blob(REPO, config).await, battery.blob(REPO, layer).await);
    let parts = Parts {
        config: descriptor("application/vnd.oci.image.config.v1+json", &config_digest, config.len()),
        layer: descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, layer.len()),
        config_digest,
        layer_digest,
        config_size: config.len(),
        layer_size: layer.len(),
        absent: format!("sha256:{}", "5".repeat(64)),
    };
    let first = parts.image("");
    let (first_digest, path) =
        (digest_of(first.as_bytes()), |reference: &str| format!("/v2/{REPO}/manifests/{reference}"));
    battery.one("first", &put_as(OCI, "first", &first), &yes(201)).await;

    let refused: Vec<Case> = refused(&parts).into_iter().chain(incomplete(&parts)).collect();
    // The first image is refused too where it comes under another type.
    let mut bodies: Vec<_> = refused.iter().map(|(name, put, _)| (name.clone(), digest_of(&put.body))).collect();
    bodies.retain(|(_, digest)| *digest != first_digest);
    battery.all(refused).await;
    for (name, digest) in bodies {
        battery.one(&format!("not kept: {name}"), &head(path(&digest)), &no(404, "MANIFEST_UNKNOWN")).await;
    }
    battery.one("no bad tag", &get(path("bad")), &no(404, "MANIFEST_UNKNOWN")).await;

    // Kept as they came, under their type, by tag and by digest.
    for (number, (name, kind, body)) in accepted(&parts).into_iter().enumerate() {
        let digest = digest_of(body.as_bytes());
        let tag = format!("good-{number}");
        let put = yes(201)
            .field("docker-content-digest", &digest)
            .field("location", path(&digest))
            .field("content-length", "0");
        battery.one(name, &put_as(kind, &tag, &body), &put).await;
        let found = yes(200).body(&body).field("content-type", kind).field("docker-content-digest", &digest);
        battery.one(name, &get(path(&tag)), &found).await;
        battery
            .one(name, &get(path(&digest)).with("accept", "text/html"), &found.field("etag", format!("\"{digest}\"")))
            .await;
    }
    battery.one("first", &put_as(OCI, "first", &first), &yes(201)).await;

    // Indexes of indexes, children that do not run, and by which digest.
    let child = |kind: &str, body: &str, rest: &str| {
        format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}{rest}}}"#, digest_of(body.as_bytes()), body.len())
    };
    let attested = index(
        &[
            child(OCI, &first, r#","platform":{"os":"linux","architecture":"amd64"}"#),
            child(
                OCI,
                &first,
                r#","platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#,
            ),
        ],
        "",
    );
    let nested = index(&[child(INDEX, &attested, "")], "");
    let deeper = index(&[child(INDEX, &nested, ""), child(OCI, &first, "")], "");
    let untyped = index(&[child("", &first, "")], "");
    let wrong_size =
        index(&[format!(r#"{{"mediaType":"{OCI}","digest":"{first_digest}","size":{}}}"#, first.len() + 1)], "");
    let sha512 = format!("sha512:{}", hex::encode(Sha512::digest(first.as_bytes())));
    let referrer = parts.image(&format!(r#","subject":{}"#, child(OCI, &first, "")));
    let wrong_subject = parts.image(&format!(r#","subject":{}"#, descriptor(OCI, &first_digest, first.len() + 1)));
    let bare = format!(r#"{{"config":{},"schemaVersion":2}}"#, parts.config);
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
    let put_first = |kind: &str| put_as(kind, "first", &first);
    battery
        .all([
            case("attestations", put_as(INDEX, "attested", &attested), yes(201)),
            case("nested", put_as(INDEX, "nested", &nested), yes(201)),
            case("deeper", put_as(INDEX, "deeper", &deeper), yes(201)),
            case("a child without a type", put_as(INDEX, "untyped", &untyped), yes(201)),
            case("a child of another size", put_as(INDEX, "bad", &wrong_size), no(400, INVALID)),
            case("a subject", put_as(OCI, "referrer", &referrer), yes(201).field("oci-subject", &first_digest)),
            case("a subject of another size", put_as(OCI, "subject", &wrong_subject), yes(201).or(400, INVALID)),
            case(
                "by digest",
                put_as(OCI, &first_digest, &first),
                yes(201).field("docker-content-digest", &first_digest),
            ),
            case("by an escaped digest", put_as(OCI, &first_digest.replace(':', "%3A"), &first), yes(201)),
            case("by sha512", put_as(OCI, &sha512, &first), yes(201).field("docker-content-digest", &sha512)),
            case("by sha512", get(path(&sha512)), yes(200).body(&first)),
            case("by a wrong digest", put_as(OCI, &parts.absent, &first), no(400, "DIGEST_INVALID")),
            case("by a wrong digest", get(path(&parts.absent)), no(404, "MANIFEST_UNKNOWN")),
            case(
                "by a wrong sha512",
                put_as(OCI, &format!("sha512:{}", "0".repeat(128)), &first),
                no(400, "DIGEST_INVALID"),
            ),
            case("by the digest of another", put_as(OCI, &parts.config_digest, &first), no(400, "DIGEST_INVALID")),
            case(
                "by a digest in capitals",
                put_as(OCI, &first_digest.to_uppercase(), &first),
                no(400, "DIGEST_INVALID"),
            ),
            case("a parameter", put_first(&format!("{OCI}; charset=utf-8")), yes(201)),
            case("a parameter", put_first(&format!("{OCI};a=\"b;c\"")), yes(201)),
            case("two headers", put_first(OCI).with("content-type", INDEX), no(400, INVALID)),
            case("two headers", put_first(OCI).with("content-type", OCI), no(400, INVALID)),
            case("capitals", put_first(&OCI.to_uppercase()), yes(201)),
            case(
                "the type is kept without parameters",
                get(path("first")),
                yes(200).field("content-type", OCI).body(&first),
            ),
            case("no type", put_as(OCI, "typed", &bare), yes(201)),
            case("another type for the same bytes", put_as(DOCKER, "typed", &bare), no(400, INVALID)),
            case("another type for the same bytes", get(path("typed")), yes(200).field("content-type", OCI)),
            case("no Content-Type", put(path("first"), &first), yes(201).or(400, INVALID)),
            case("an empty Content-Type", put_first(""), yes(201).or(400, INVALID)),
            case("a Content-Type of other bytes", put_first("application/\u{e9}"), no(400, "")),
            case("chunked", put_first(OCI).chunked(), yes(201)),
            case("identity", put_first(OCI).with("content-encoding", "identity"), yes(201)),
            case("gzip that is none", put_as(OCI, "bad", gzip), no(400, INVALID).or(415, "")),
            case("gzip", put_as(OCI, "bad", gzip).with("content-encoding", "gzip"), no(400, INVALID).or(415, "")),
            case(
                "unknown coding",
                put_as(OCI, "bad", "x").with("content-encoding", "zstd, br"),
                no(400, INVALID).or(415, ""),
            ),
            case("a range", put_first(OCI).with("content-range", "bytes 0-4/5"), yes(201).or(400, "")),
            case("a child may not go", delete(path(&first_digest)), no(405, "UNSUPPORTED").or(202, "")),
            case(
                "a blob in use may not go",
                delete(format!("/v2/{REPO}/blobs/{}", parts.layer_digest)),
                no(405, "UNSUPPORTED").or(202, ""),
            ),
            case("Accept", get(path("first")).with("accept", "text/html;q=0.5"), yes(200).body(&first)),
            case("Accept", get(path("first")).with("accept", LIST), yes(200).body(&first)),
            case("Range", get(path("first")).with("range", "bytes=0-1"), yes(200).body(&first).or(206, "")),
            case(
                "another repository's parts",
                put("/v2/man/other/manifests/x", &first).with("content-type", OCI),
                no(400, MISSING).errors(2),
            ),
            case("a rejected push makes no repository", get("/v2/man/other/tags/list"), no(404, "NAME_UNKNOWN")),
        ])
        .await;

    referrers(&mut battery, &parts).await;
    too_large(&mut battery, &parts).await;

    for _ in 0..3 {
        battery
            .one("end", &get(path("first")), &yes(200).body(&first).field("docker-content-digest", &first_digest))
            .await;
        battery.one("end", &get(path("deeper")), &yes(200).body(&deeper).field("content-type", INDEX)).await;
        battery.one("end", &get(path("bad")), &no(404, "MANIFEST_UNKNOWN")).await;
    }
    battery.finish();
}

/// 4 MiB are the limit, however the body is framed; what exceeds it costs no memory.
async fn too_large(battery: &mut Battery, parts: &Parts) {
    let padded = |size: usize| {
        let image = parts.image("");
        image.clone() + &" ".repeat(size - image.len())
    };
    let largest = padded(MIB_4);
    battery.one("4 MiB", &put_as(OCI, "largest", &largest), &yes(201)).await;
    battery.one("4 MiB, chunked", &put_as(OCI, "largest", &largest).chunked(), &yes(201)).await;
    for _ in 0..3 {
        battery.one("4 MiB", &get(format!("/v2/{REPO}/manifests/largest")), &yes(200).body(&largest)).await;
    }
    let before: Vec<u64> = battery.cluster.nodes.iter_mut().map(|node| node.process().rss()).collect();
    let large = || no(413, INVALID);
    let head = |framing: &str| {
        format!("PUT /v2/{REPO}/manifests/bad HTTP/1.1\r\nhost: a\r\ncontent-type: {OCI}\r\n{framing}\r\n\r\n")
    };
    let endless = |framing: &str, tail: Vec<u8>, mib: usize| {
        let times = (mib << 20) / tail.len();
        Request {
            raw: Some(Sent { bytes: head(framing).into_bytes(), tail, times, half_close: false }),
            ..request("RAW", "")
        }
    };
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..2 {
        battery
            .all([
                case("4 MiB and 1", put_as(OCI, "bad", padded(MIB_4 + 1)), large()),
                case("4 MiB and 1, chunked", put_as(OCI, "bad", padded(MIB_4 + 1)).chunked(), large()),
                case("64 MiB", endless(&format!("content-length: {}", 64 << 20), vec![b' '; 1 << 16], 64), large()),
                case("64 MiB, chunked", endless("transfer-encoding: chunked", chunk.clone(), 64), large()),
                case("no end", endless("transfer-encoding: chunked", chunk.clone(), 1 << 12), large()),
                case(
                    "2^62 bytes",
                    endless("content-length: 4611686018427387904", vec![b'['; 1 << 16], 1 << 12),
                    large(),
                ),
                case(
                    "64 MiB, not sent",
                    raw(head(&format!("expect: 100-continue\r\ncontent-length: {}", 64 << 20))),
                    large(),
                ),
            ])
            .await;
    }
    for (number, before) in before.into_iter().enumerate() {
        let after = battery.cluster.nodes[number].process().rss();
        battery.expect("memory", after < before + FLAT, || {
            format!("node {number}: {} to {} MiB", before >> 20, after >> 20)
        });
    }
}

/// What refers to a manifest, page by page and by type.
async fn referrers(battery: &mut Battery, parts: &Parts) {
    let place = format!("/v2/{REPO}/referrers/sha256:{}", "7".repeat(64));
    let mut all = Vec::new();
    for number in 0..7 {
        let kind = if number % 2 == 0 { r#","artifactType":"application/vnd.a+<b>""# } else { "" };
        let subject = descriptor(OCI, &place[place.len() - 71..], 1);
        let body = parts.image(&format!(r#"{kind},"annotations":{{"n":"<i>{number}</i>"}},"subject":{subject}"#));
        all.push((digest_of(body.as_bytes()), number));
        battery
            .one(
                "a referrer",
                &put_as(OCI, &digest_of(body.as_bytes()), &body),
                &yes(201).field("oci-subject", &place[place.len() - 71..]),
            )
            .await;
    }
    all.sort();
    let listed = |answer: &Answer| -> Vec<(String, usize)> {
        let index: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let entries = index["manifests"].as_array().cloned().unwrap_or_default();
        let number = |entry: &serde_json::Value| {
            let text = entry["annotations"]["n"].as_str()?;
            let number: usize = text.trim_start_matches("<i>").trim_end_matches("</i>").parse().ok()?;
            let kind =
                if number % 2 == 0 { "application/vnd.a+<b>" } else { "application/vnd.oci.image.config.v1+json" };
            (entry["artifactType"] == kind && entry["mediaType"] == OCI).then_some(number)
        };
        entries
            .iter()
            .map(|entry| (entry["digest"].as_str().unwrap_or_default().to_owned(), number(entry).unwrap_or(99)))
            .collect()
    };
    let index = || yes(200).field("content-type", INDEX);
    let filtered = || index().field("oci-filters-applied", "artifactType");
    let of = |even: bool| all.iter().filter(|(_, number)| (number % 2 == 0) == even).cloned().collect::<Vec<_>>();
    let config = "application/vnd.oci.image.config.v1%2Bjson";
    for (query, want, expected) in [
        ("", index().without("oci-filters-applied").without("link"), all.clone()),
        ("?", index(), all.clone()),
        ("?n=", index(), all.clone()),
        ("?n=7", index().without("link"), all.clone()),
        ("?n=99999999999999999999", index().without("link"), all.clone()),
        ("?n=2", index(), all[..2].to_vec()),
        ("?n=0", index().without("link"), vec![]),
        ("?artifactType=", index(), all.clone()),
        ("?artifactType=application/vnd.a%2b%3Cb%3E", filtered(), of(true)),
        ("?artifactType=application/vnd.a+%3Cb%3E", filtered(), of(true)),
        (&format!("?artifactType={config}"), filtered(), of(false)),
        ("?artifactType=application/vnd.A%2B%3Cb%3E", filtered(), vec![]),
        ("?artifactType=%3Cscript%3E", filtered(), vec![]),
        ("?artifactType=%0d%0aset-cookie:%20a=b", filtered(), vec![]),
        ("?artifactType=%00", filtered(), vec![]),
        ("?artifactType=%ff", filtered(), vec![]),
        (&format!("?last={}", all[6].0), index().without("link"), vec![]),
        (&format!("?last={}", all[2].0), index().without("link"), all[3..].to_vec()),
        (&format!("?last=sha256%3A{}", "0".repeat(64)), index(), all.clone()),
    ] {
        let Some(answer) = battery.one("referrers", &get(format!("{place}{query}")), &want).await else { continue };
        let found = listed(&answer);
        battery.expect("referrers", answer.status != 200 || found == expected, || {
            format!("{query}: {found:?} instead of {expected:?}")
        });
    }
    for query in ["?n=-1", "?n=x", "?n=1.5", "?n=+1", "?n=%00"] {
        battery.one("referrers", &get(format!("{place}{query}")), &no(400, "PAGINATION_NUMBER_INVALID")).await;
    }
    for last in ["x", "sha256:", "latest", "%00", "sha256:..%2f"] {
        battery.one("referrers", &get(format!("{place}?last={last}")), &no(400, "DIGEST_INVALID")).await;
    }
    battery.one("referrers", &head(&place), &index()).await;
    for (size, filter, expected) in
        [(1, "", all.clone()), (3, "", all.clone()), (1, "&artifactType=application/vnd.a%2B%3Cb%3E", of(true))]
    {
        let (mut next_place, mut found) = (Some(format!("{place}?n={size}{filter}")), Vec::new());
        while let Some(at) = next_place.take().filter(|_| found.len() < 20) {
            let Some(answer) = battery.one("follow", &get(at), &index()).await else { break };
            found.extend(listed(&answer));
            next_place = next(&answer);
        }
        battery.expect("follow", found == expected, || format!("referrers by {size}{filter}: {found:?}"));
    }
}
