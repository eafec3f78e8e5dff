use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// The address of the next page.
fn next(page: &Answer) -> Option<String> {
    let link = page.field("link");
    let path = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
    assert!(path.is_some() || link.is_empty(), "{link}");
    path.map(str::to_owned)
}

fn query(n: Option<usize>, last: Option<&str>) -> String {
    let n = n.map(|n| format!("n={n}"));
    let last = last.map(|last| format!("last={}", last.replace('/', "%2F")));
    n.into_iter().chain(last).collect::<Vec<_>>().join("&")
}

fn names(page: &Answer, key: &str) -> Vec<String> {
    serde_json::from_value(page.json()[key].clone()).unwrap()
}

/// Follows the links from `path`: what each page has under `key`.
async fn walk(cluster: &Cluster, path: String, key: &str) -> Vec<Vec<String>> {
    let (mut pages, mut path) = (Vec::new(), Some(path));
    while let Some(at) = path {
        let page = cluster.get(&at).await.expect(200);
        pages.push(names(&page, key));
        path = next(&page);
        assert!(pages.len() < 1_000, "the walk has no end");
    }
    pages
}

/// All pages together are what follows `last`; each but the last page is full, and none but the only one is empty.
fn check_pages(pages: &[Vec<String>], all: &BTreeSet<String>, n: Option<usize>, last: Option<&str>) {
    let expected: Vec<&String> = all.iter().filter(|name| last.is_none_or(|last| name.as_str() > last)).collect();
    assert_eq!(pages.iter().flatten().collect::<Vec<_>>(), expected);
    if let Some(n) = n {
        assert!(pages.iter().all(|page| page.len() <= n));
        assert!(pages[..pages.len() - 1].iter().all(|page| page.len() == n));
    }
    assert!(pages.len() == 1 || pages.iter().all(|page| !page.is_empty()));
}

/// A repository `a`; returns the path of its manifest, by digest.
async fn repository(cluster: &Cluster) -> (String, String) {
    let config = cluster.push_blob("a", b"{}").await;
    let body = manifest(&[(config, 2)], "");
    let path = format!("/v2/a/manifests/{}", digest_of(body.as_bytes()));
    cluster.put(&path, &[], body.clone()).await.expect(201);
    (path, body)
}

/// Puts tags, many at a time.
async fn tag<'a>(cluster: &Cluster, (path, body): &(String, String), tags: impl IntoIterator<Item = &'a String>) {
    let tags: Vec<String> = tags.into_iter().map(|tag| format!("tag={tag}")).collect();
    for tags in tags.chunks(50) {
        cluster.put(&format!("{path}?{}", tags.join("&")), &[], body.clone()).await.expect(201);
    }
}

/// Tags that are prefixes of each other or differ in characters around letters and digits.
const TAG: &str = "[aAb0_]([aAb0._-]|a9){0,3}";
/// Names whose order is not that of their components.
const NAME: &str = "[ab0]([._/-]?[ab0]){0,3}";

#[derive(Clone, Debug)]
enum Change {
    Tag(String),
    Untag(String),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec(prop_oneof![TAG.prop_map(Change::Tag), TAG.prop_map(Change::Untag)], 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// end-8
    #[test]
    fn pages_of_tags_are_complete_and_in_order(
        tags in proptest::collection::btree_set(TAG, 0..60),
        n in option::of(1..9_usize),
        last in option::of(TAG),
    ) {
        run(async {
            let cluster = Cluster::of(1).await;
            tag(&cluster, &repository(&cluster).await, &tags).await;
            let path = format!("/v2/a/tags/list?{}", query(n, last.as_deref()));
            check_pages(&walk(&cluster, path, "tags").await, &tags, n, last.as_deref());
        });
    }

    #[test]
    fn pages_of_the_catalog_are_complete_and_in_order(
        repositories in proptest::collection::btree_set(NAME, 0..20),
        n in option::of(1..6_usize),
        last in option::of(NAME),
    ) {
        run(async {
            let cluster = Cluster::of(1).await;
            let digest = digest_of(b"x");
            for name in &repositories {
                let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
                cluster.send(Method::POST, &path, &[], "x").await.expect(201);
            }
            let path = format!("/v2/_catalog?{}", query(n, last.as_deref()));
            check_pages(&walk(&cluster, path, "repositories").await, &repositories, n, last.as_deref());
        });
    }

    /// end-8: what is there during the whole walk is listed once, whatever else comes and goes.
    #[test]
    fn tags_written_between_pages_hide_no_others(
        stable in proptest::collection::btree_set(TAG, 1..30),
        rounds in vec(changes(), 1..12),
        n in 1..6_usize,
    ) {
        run(async {
            let cluster = Cluster::of(2).await;
            let manifest = repository(&cluster).await;
            tag(&cluster, &manifest, &stable).await;
            let (mut ever, mut seen) = (stable.clone(), Vec::new());
            let mut path = Some(format!("/v2/a/tags/list?n={n}"));
            let mut rounds = rounds.iter();
            while let Some(at) = path {
                let page = cluster.send_to(1, Method::GET, &at, &[], "").await.expect(200);
                seen.extend(names(&page, "tags"));
                for change in rounds.next().into_iter().flatten() {
                    match change {
                        Change::Tag(name) => {
                            tag(&cluster, &manifest, [name]).await;
                            ever.insert(name.clone());
                        }
                        Change::Untag(name) if stable.contains(name) => {}
                        Change::Untag(name) => {
                            let path = format!("/v2/a/manifests/{name}");
                            let status = cluster.send(Method::DELETE, &path, &[], "").await.status.as_u16();
                            assert!(matches!(status, 202 | 404), "{status}");
                        }
                    }
                }
                path = next(&page);
            }
            assert!(seen.is_sorted_by(|one, two| one < two), "twice or out of order: {seen:?}");
            assert!(seen.iter().all(|tag| ever.contains(tag)), "never written: {seen:?}");
            assert!(stable.iter().all(|tag| seen.contains(tag)), "{stable:?} not all in {seen:?}");
        });
    }

    /// end-12
    #[test]
    fn pages_of_referrers_are_complete_and_in_order(
        referrers in vec((0..3_u8, any::<bool>(), any::<bool>()), 0..14),
        n in option::of(1..5_usize),
        filter in option::of(0..3_u8),
        last in option::of(any::<prop::sample::Index>()),
    ) {
        run(async {
            let cluster = Cluster::of(1).await;
            let config = cluster.push_blob("a", b"{}").await;
            let subject = digest_of(b"subject");
            let (mut all, mut listed) = (BTreeMap::new(), Vec::new());
            for (number, (kind, has_subject, in_fallback)) in referrers.iter().enumerate() {
                let mut rest = format!(r#","artifactType":"text/{kind}","annotations":{{"n":"{number}"}}"#);
                if *has_subject {
                    rest += &format!(r#","subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":7}}"#);
                }
                let body = manifest(&[(config, 2)], &rest);
                let digest = digest_of(body.as_bytes()).to_string();
                if *in_fallback {
                    listed.push(format!(r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{}}}"#, body.len()));
                }
                cluster.put(&format!("/v2/a/manifests/{digest}"), &[], body).await.expect(201);
                if *has_subject || *in_fallback {
                    all.insert(digest, *kind);
                }
            }
            if !listed.is_empty() {
                let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, listed.join(","));
                let path = format!("/v2/a/manifests/sha256-{}", subject.hex());
                cluster.send(Method::PUT, &path, &[("content-type", INDEX)], index).await.expect(201);
            }

            let last = last.filter(|_| !all.is_empty()).map(|at| all.keys().nth(at.index(all.len())).unwrap().clone());
            let mut query = query(n, last.as_deref());
            if let Some(kind) = filter {
                query += &format!("&artifactType=text/{kind}");
            }
            let (mut seen, mut path) = (Vec::new(), Some(format!("/v2/a/referrers/{subject}?{query}")));
            while let Some(at) = path {
                let page = cluster.get(&at).await.expect(200);
                let json = page.json();
                let entries = json["manifests"].as_array().unwrap();
                assert!(n.is_none_or(|n| entries.len() <= n));
                seen.extend(entries.iter().map(|entry| {
                    let digest = entry["digest"].as_str().unwrap().to_owned();
                    assert_eq!(entry["artifactType"], format!("text/{}", all[&digest]));
                    digest
                }));
                path = next(&page);
                assert!(seen.len() <= all.len(), "the walk has no end");
            }
            let wanted = |(digest, kind): &(&String, &u8)| {
                last.as_ref().is_none_or(|last| *digest > last) && filter.is_none_or(|filter| **kind == filter)
            };
            assert_eq!(seen, all.iter().filter(wanted).map(|(digest, _)| digest.clone()).collect::<Vec<_>>());
        });
    }
}
