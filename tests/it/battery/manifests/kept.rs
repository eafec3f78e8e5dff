//! Documents that are manifests, if the repository holds what they name.

use super::*;

/// References to what the repository does not hold: one error each.
pub(super) fn incomplete(parts: &Parts) -> Vec<Case> {
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
pub(super) fn accepted(parts: &Parts) -> Vec<(&'static str, &'static str, String)> {
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
