//! The differences that are meant, and the account of those that were seen.

use super::{Group, answer::Facts, step::Step};
use std::{collections::BTreeSet, fmt::Write};

mod list;

pub use list::RULES;

/// A difference that is meant: a line of `docs/differences.md`.
pub struct Rule {
    /// Its name in the script and in the document.
    pub id: &'static str,
    /// Which requests.
    pub request: &'static str,
    /// What registry:2 answers.
    pub theirs: &'static str,
    /// What this registry answers.
    pub ours: &'static str,
    /// The reason.
    pub why: &'static str,
    /// What it looks like. Each must occur.
    pub changes: &'static [Change],
}

/// One fact that differs. `-` is absent, `*` is anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The fact's name.
    pub fact: &'static str,
    /// What registry:2 says.
    pub theirs: &'static str,
    /// What this registry says.
    pub ours: &'static str,
}

/// A change.
pub const fn change(fact: &'static str, theirs: &'static str, ours: &'static str) -> Change {
    Change { fact, theirs, ours }
}

impl Change {
    fn explains(&self, fact: &str, theirs: &str, ours: &str) -> bool {
        let fits = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        self.fact == fact && fits(self.theirs, theirs) && fits(self.ours, ours)
    }
}

/// Every request and how its answers compared.
#[derive(Default)]
pub struct Ledger {
    /// Requests so far.
    pub requests: usize,
    /// Those with equal answers, but for rules of their group.
    pub equal: usize,
    /// Facts that a rule of the step explained.
    pub listed: usize,
    /// What no rule explains, and steps whose rule explained nothing.
    pub failures: Vec<String>,
    /// Changes that explained something, by their place in their rule.
    seen: BTreeSet<(&'static str, usize)>,
    /// Rules that explained something, by group.
    used: BTreeSet<(&'static str, &'static str)>,
}

impl Ledger {
    /// Compares two answers.
    pub fn enter(&mut self, group: &Group, step: &Step, theirs: &Facts, ours: &Facts) {
        self.requests += 1;
        let mut unused: BTreeSet<&str> = step.rules.iter().copied().collect();
        let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        let (mut listed, mut unlisted) = (0, String::new());
        for name in names {
            let of = |facts: &'_ Facts| facts.get(name).cloned().unwrap_or_else(|| "-".into());
            let (theirs, ours) = (of(theirs), of(ours));
            if theirs == ours {
                continue;
            }
            let rules = RULES.iter().filter(|rule| group.rules.contains(&rule.id) || step.rules.contains(&rule.id));
            let mut changes = rules.flat_map(|rule| rule.changes.iter().enumerate().map(move |at| (rule, at)));
            match changes.find(|(_, (_, change))| change.explains(name, &theirs, &ours)) {
                Some((rule, (at, _))) => {
                    self.seen.insert((rule.id, at));
                    unused.remove(rule.id);
                    listed += usize::from(!group.rules.contains(&rule.id));
                    self.used.insert((group.name, rule.id));
                }
                None => _ = write!(unlisted, "\n    {name}: theirs {theirs:?}, ours {ours:?}"),
            }
        }
        let group = group.name;
        if !unlisted.is_empty() {
            self.failures.push(format!("{group}: {step} differs{unlisted}"));
        }
        for rule in unused {
            self.failures.push(format!("{group}: {step} does not differ as {rule} says"));
        }
        self.equal += usize::from(listed == 0);
        self.listed += usize::from(listed > 0);
    }

    /// Enters what a whole group should have shown.
    pub fn close(&mut self, group: &Group) {
        for rule in group.rules.iter().filter(|rule| !self.used.contains(&(group.name, **rule))) {
            self.failures.push(format!("{}: nothing differs as {rule} says", group.name));
        }
    }

    /// Rules, or parts of them, that explained nothing.
    pub fn rotten(&self) -> Vec<String> {
        let mut rotten = Vec::new();
        for rule in RULES {
            for (at, change) in rule.changes.iter().enumerate() {
                if !self.seen.contains(&(rule.id, at)) {
                    rotten.push(format!("{}: never seen: {change:?}", rule.id));
                }
            }
        }
        rotten
    }

    /// One line.
    pub fn summary(&self) -> String {
        let rules: BTreeSet<_> = self.seen.iter().map(|(id, _)| id).collect();
        let (requests, equal, listed) = (self.requests, self.equal, self.listed);
        format!("{requests} requests, {equal} equal, {listed} listed differences ({} rules)", rules.len())
    }
}

/// `docs/differences.md`
pub fn document() -> String {
    let mut text = list::PREFACE.to_owned();
    text.push_str("| rule | request | registry:2 | Flotilla | why |\n|---|---|---|---|---|\n");
    for Rule { id, request, theirs, ours, why, .. } in RULES {
        let _ = writeln!(text, "| `{id}` | {request} | {theirs} | {ours} | {why} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_list() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/differences.md");
        if std::env::var_os("FLOTILLA_WRITE_DOCS").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == document(), "stale: FLOTILLA_WRITE_DOCS=1 cargo test -p flotilla-tests the_document");
    }

    #[test]
    fn a_difference_without_a_rule_fails_and_so_does_a_rule_without_a_difference() {
        let facts = |status: &str| Facts::from([("status".to_owned(), status.to_owned())]);
        let step = super::super::step::get("/");
        let group = Group { rules: vec!["json-charset"], ..Group::new("group", "", Vec::new()) };
        let mut ledger = Ledger::default();
        ledger.enter(&group, &step, &facts("200"), &facts("200"));
        assert_eq!((ledger.equal, ledger.failures.len()), (1, 0));
        ledger.enter(&group, &step, &facts("200"), &facts("404"));
        assert_eq!(ledger.failures.len(), 1);
        ledger.enter(&group, &step.rule(RULES[RULES.len() - 1].id), &facts("200"), &facts("200"));
        assert_eq!(ledger.failures.len(), 2);
        ledger.close(&group);
        assert_eq!(ledger.failures.len(), 3);
        assert!(!ledger.rotten().is_empty());
    }

    #[test]
    fn no_two_rules_share_an_id() {
        let ids: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), RULES.len());
    }
}
