use super::*;
use proptest::prelude::*;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn digest(byte: u8) -> String {
    format!("sha256:{}", hex::encode([byte; 32]))
}

fn descriptor(byte: u8, media_type: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{byte}}}"#, digest(byte))
}

fn image(rest: &str) -> String {
    let config = descriptor(1, "application/vnd.oci.image.config.v1+json");
    let layer = descriptor(2, "application/vnd.oci.image.layer.v1.tar+gzip");
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer},{layer}]{rest}}}"#)
}

fn parse(text: &str, content_type: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text.as_bytes(), Some(content_type))
}

#[test]
fn an_image_names_its_config_and_layers_once() {
    let extra =
        format!(r#","subject":{},"annotations":{{"a":"b"}},"unknown":[1,2.5,-3,true,null]"#, descriptor(9, OCI));
    let manifest = parse(&image(&extra), OCI).unwrap();
    assert_eq!(manifest.kind, ManifestKind::OciManifest);
    assert_eq!(manifest.blobs.iter().map(|blob| blob.size).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(manifest.subject.unwrap().size, 9);
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
    assert_eq!(manifest.annotations["a"], "b");
    assert!(manifest.children.is_empty());
}

#[test]
fn an_index_names_manifests_and_blobs() {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{},{}],"artifactType":"x/y"}}"#,
        descriptor(1, OCI),
        descriptor(2, "application/vnd.oci.image.layer.v1.tar+gzip"),
    );
    let index = parse(&text, INDEX).unwrap();
    assert_eq!((index.children.len(), index.blobs.len()), (1, 1));
    assert_eq!(index.artifact_type.as_deref(), Some("x/y"));
    // It is in a record that is written often.
    assert!(parse(&text.replace("x/y", &"x".repeat(1_024)), INDEX).is_ok());
    assert!(parse(&text.replace("x/y", &"x".repeat(1_025)), INDEX).is_err());
    assert_eq!(Manifest::parse(text.as_bytes(), None).unwrap(), index);
}

#[test]
fn foreign_layers_with_urls_are_not_needed() {
    let media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let foreign =
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":3,"urls":["https://example.org/x"]}}"#, digest(3));
    let text = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{foreign},{}]}}"#,
        descriptor(1, "c"),
        descriptor(4, media_type)
    );
    let manifest = parse(&text, "application/vnd.docker.distribution.manifest.v2+json").unwrap();
    assert_eq!(manifest.blobs.iter().map(|blob| blob.size).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn ambiguous_and_damaged_documents_are_refused() {
    let config = descriptor(1, "c");
    let deep = format!(r#","x":{}{}"#, "[".repeat(40), "]".repeat(40));
    for (text, content_type) in [
        ("", OCI),
        ("[]", OCI),
        ("{}", OCI),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#, OCI),
        (&image("x"), OCI),
        (&(image("") + "{}"), OCI),
        (&image(r#","manifests":[]"#), OCI),
        (&image(r#","manifests":[]"#), INDEX),
        (&image(&format!(r#","mediaType":"{INDEX}""#)), OCI),
        (&image(""), "application/json"),
        (&image(r#","schemaVersion":2"#), OCI),
        (&image(r#","x":{"a":1,"a":1}"#), OCI),
        (&image(&deep), OCI),
        (&image(r#","annotations":{"a":1}"#), OCI),
        (&image(r#","subject":7"#), OCI),
        (&format!(r#"{{"schemaVersion":2,"layers":[{config}]}}"#), OCI),
        (&format!(r#"{{"schemaVersion":2,"config":{}}}"#, config.replace("\"size\":1", "\"size\":-1")), OCI),
        (&format!(r#"{{"schemaVersion":2,"config":{}}}"#, config.replace("sha256", "md5")), OCI),
        (&format!(r#"{{"schemaVersion":2,"config":{config},"layers":[null]}}"#), OCI),
        (r#"{"schemaVersion":2}"#, INDEX),
    ] {
        assert!(parse(text, content_type).is_err(), "{text} as {content_type}");
    }
}

#[test]
fn a_digest_has_one_size_wherever_it_is_listed() {
    let listed =
        |size: u8| descriptor(1, "application/octet-stream").replace("\"size\":1", &format!("\"size\":{size}"));
    for (first, second) in [(descriptor(1, OCI), listed(2)), (listed(2), descriptor(1, OCI)), (listed(2), listed(3))] {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{first},{second}]}}"#);
        assert!(matches!(parse(&text, INDEX), Err(ManifestError::Field { .. })), "{text}");
    }
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#, descriptor(1, OCI), listed(1));
    let index = parse(&text, INDEX).unwrap();
    assert_eq!((index.children.len(), index.blobs.len()), (1, 1));
}

#[test]
fn fields_in_other_letters_are_refused() {
    for extra in [r#","Config":{}"#, r#","LAYERS":[]"#, r#","Annotations":{}"#, r#","\u017fubject":null"#] {
        assert!(matches!(parse(&image(extra), OCI), Err(ManifestError::Field { .. })), "{extra}");
    }
    for name in ["Digest", "SIZE", "URLs", "\u{17f}ize"] {
        let text = image("").replacen("\"digest\"", &format!("\"{name}\":null,\"digest\""), 1);
        assert!(matches!(parse(&text, OCI), Err(ManifestError::Field { .. })), "{text}");
    }
    assert!(parse(&image(r#","x":{"Config":1,"config":2},"annotations":{"a":"","A":""}"#), OCI).is_ok());
}

#[test]
fn the_number_of_descriptors_is_bounded() {
    let layers = vec![descriptor(2, "l"); DESCRIPTORS_MAX].join(",");
    let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, descriptor(1, "c"));
    assert!(matches!(parse(&text, OCI), Err(ManifestError::TooManyDescriptors)));
    assert!(matches!(parse(&" ".repeat(MANIFEST_BYTES_MAX + 1), OCI), Err(ManifestError::TooLarge)));
}

proptest! {
    #[test]
    fn no_document_makes_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Manifest::parse(&body, Some(OCI));
    }

    #[test]
    fn no_mutilated_manifest_makes_the_parser_panic(cut in 0usize..600, at in 0usize..600, byte in any::<u8>()) {
        let mut body = image("").into_bytes();
        if let Some(place) = body.get_mut(at) {
            *place = byte;
        }
        body.truncate(cut);
        let _ = Manifest::parse(&body, None);
    }
}
