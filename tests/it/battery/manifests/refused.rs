//! Documents that are no manifests.

use super::*;

/// Documents that no reader should take, and each for which two readers might see two things.
pub(super) fn refused(parts: &Parts) -> Vec<Case> {
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
