//! The same requests to Debian's `docker-registry` and to this registry, both started from the same configuration.
//!
//! A [`Group`] is a configuration and its requests. What the two answer must be equal in all that clients depend on
//! ([`answer`]), or differ as one of the [`rules`] says. Each rule is a line of `docs/differences.md`, made from it; a rule
//! that explains nothing is a failure like a difference without a rule, so that the list stays true.

pub mod answer;
pub mod auth;
pub mod blobs;
pub mod listing;
pub mod manifests;
pub mod material;
pub mod modes;
pub mod registry;
pub mod rules;
pub mod step;
pub mod uploads;

use answer::{Answer, Facts};
use anyhow::{Context, Result};
use material::Material;
use registry::{Registry, Side, Speech};
use rules::Ledger;
use std::{collections::HashMap, path::Path};
use step::Step;

/// A configuration, and what is asked of the two registries that run with it.
pub struct Group {
    /// Its name in reports.
    pub name: &'static str,
    /// The configuration file; `$files` stands for the folder of [`Material::files`].
    pub config: String,
    /// Variables, for both alike.
    pub variables: Vec<(&'static str, String)>,
    /// What the public port speaks.
    pub speech: Speech,
    /// Rules that any of its answers may follow.
    pub rules: Vec<&'static str>,
    /// The requests, in order.
    pub steps: Vec<Step>,
}

impl Group {
    /// A group on the default configuration and these further sections.
    pub fn new(name: &'static str, sections: &str, steps: Vec<Step>) -> Self {
        let config = format!("{DEFAULT}{sections}");
        let rules = vec!["json-charset", "nosniff", "location"];
        Self { name, config, variables: Vec::new(), speech: Speech::Plain, rules, steps }
    }
}

/// What the image of registry:2 has in its file, but for the health check and the address.
const DEFAULT: &str =
    "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\n  fields:\n    service: registry\n";
/// Storage with deletes.
const STORAGE: &str = "storage:\n  cache:\n    blobdescriptor: inmemory\n  filesystem:\n    rootdirectory: /var/lib/registry\n  \
                       delete:\n    enabled: true\n";

/// All groups.
pub fn groups(material: &Material) -> Vec<Group> {
    let mut plain = listing::steps(material);
    plain.extend(blobs::steps(material));
    plain.extend(uploads::steps(material));
    plain.extend(manifests::steps(material));
    let mut groups = vec![Group::new("plain", STORAGE, plain)];
    groups.extend(auth::groups(material));
    groups.extend(modes::groups(material));
    groups
}

/// Starts both registries, asks both everything, and enters every difference into the ledger.
pub async fn run(group: &Group, material: &Material, dir: &Path, ledger: &mut Ledger) -> Result<()> {
    let dir = dir.join(group.name);
    let theirs = Registry::start(Side::Theirs, group, material, &dir).await?;
    let ours = Registry::start(Side::Ours, group, material, &dir).await?;
    let mut words = [HashMap::new(), HashMap::new()];
    for step in &group.steps {
        let mut facts: Vec<Facts> = Vec::new();
        for (registry, words) in [&theirs, &ours].into_iter().zip(&mut words) {
            let answer = ask(registry, step, words).await;
            let answer = answer.with_context(|| format!("{}: {step} of {:?}", group.name, registry.side))?;
            facts.push(answer.facts(step.is_head()));
        }
        let (ours, theirs) = (facts.pop().unwrap_or_default(), facts.pop().unwrap_or_default());
        ledger.enter(group, step, &theirs, &ours);
    }
    ledger.close(group);
    Ok(())
}

async fn ask(registry: &Registry, step: &Step, words: &mut HashMap<&'static str, String>) -> Result<Answer> {
    let answer = registry.exchange(&step.bytes(&registry.address, words), step).await?;
    if let Some(word) = step.saves {
        words.insert(word, crate::http::path_of(answer.header("location").unwrap_or("/no-location")));
    }
    Ok(answer)
}
