//! Keeps `docs/spec-coverage.md` true: every row names a handler and a test that exist, and a command that runs that test.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const LEVELS: [&str; 5] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY"];

/// A row of one of the tables.
#[derive(Debug)]
struct Row<'a> {
    id: &'a str,
    section: &'a str,
    requirement: &'a str,
    level: &'a str,
    handler: &'a str,
    test: &'a str,
    command: &'a str,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of a document, without the heads of its tables; a line of another shape is an error.
fn rows(document: &str) -> Result<Vec<Row<'_>>, String> {
    let mut rows = Vec::new();
    for line in document.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, section, requirement, level, handler, test, command] = cells[..] else {
            return Err(format!("not seven cells: {line}"));
        };
        if id != "id" && !id.starts_with("---") {
            rows.push(Row { id, section, requirement, level, handler, test, command });
        }
    }
    Ok(rows)
}

/// What is between backquotes.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|text| !text.is_empty() && !text.contains('`'))
}

/// What is wrong with a document; `root` is where the sources are.
fn problems(document: &str, root: &Path) -> Vec<String> {
    let rows = match rows(document) {
        Ok(rows) => rows,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    for row in &rows {
        if row.id.is_empty() || !ids.insert(row.id) {
            problems.push(format!("{}: the id is empty or used twice", row.id));
        }
        if row.section.is_empty() || row.requirement.is_empty() || !LEVELS.contains(&row.level) {
            problems.push(format!("{}: no section, requirement or level", row.id));
        }
        let checked = match row.handler {
            "not applicable" if row.test.is_empty() || row.command != "-" => Err("a reason and no command".to_owned()),
            "not applicable" => Ok(()),
            _ => handler(row.handler, root).and_then(|()| test(row.test, row.command, root)),
        };
        problems.extend(checked.err().map(|problem| format!("{}: {problem}", row.id)));
    }
    if rows.is_empty() {
        problems.push("there are no rows".into());
    }
    problems
}

/// A handler is `<file>::<function>` or `<file>::<type>::<function>`.
fn handler(cell: &str, root: &Path) -> Result<(), String> {
    let (file, name) = code(cell).and_then(|text| text.split_once("::")).ok_or("the handler is missing")?;
    let source = fs::read_to_string(root.join(file)).map_err(|_| format!("there is no {file}"))?;
    let (of_type, function) = name.rsplit_once("::").map_or((None, name), |(of, function)| (Some(of), function));
    if !has_function(&source, function) {
        return Err(format!("{file} has no fn {function}"));
    }
    let is_of = |line: &str, of: &str| {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        line.starts_with("impl") && words.into_iter().any(|word| word == of)
    };
    match of_type {
        Some(of) if !source.lines().any(|line| is_of(line, of)) => Err(format!("{file} has no impl of {of}")),
        Some(_) | None => Ok(()),
    }
}

/// A test is the path by which its command selects it, and the command is of one of two forms.
fn test(cell: &str, command: &str, root: &Path) -> Result<(), String> {
    let path = code(cell).ok_or("the test is missing")?;
    let command = code(command).ok_or("the command is missing")?;
    let first = match command {
        _ if command == format!("cargo test -p flotilla-node {path}") => "node/src/lib.rs",
        _ if command == format!("cargo test -p flotilla-proto {path}") => "proto/src/lib.rs",
        _ if command == format!("cargo test -p flotilla-tests --test it -- --exact {path}") => "tests/it/main.rs",
        _ => return Err(format!("no command for {path}: {command}")),
    };
    let (modules, name) = path.rsplit_once("::").unwrap_or(("", path));
    let file = module(root.join(first), modules)?;
    let source = fs::read_to_string(&file).map_err(|_| format!("there is no {}", file.display()))?;
    match is_test(&source, name) {
        true => Ok(()),
        false => Err(format!("{} has no test {name}", file.display())),
    }
}

/// Follows the declarations of modules from the crate's root to the file with the innermost.
fn module(mut file: PathBuf, path: &str) -> Result<PathBuf, String> {
    for name in path.split("::").filter(|name| !name.is_empty()) {
        let source = fs::read_to_string(&file).map_err(|_| format!("there is no {}", file.display()))?;
        let declares = |line: &str, tail: &str| {
            let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            line == format!("mod {name}{tail}")
        };
        if source.lines().any(|line| declares(line, " {")) {
            continue;
        }
        if !source.lines().any(|line| declares(line, ";")) {
            return Err(format!("{} has no mod {name}", file.display()));
        }
        let is_root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|root| file.ends_with(root));
        let dir = if is_root { file.parent().map(Path::to_owned).unwrap_or_default() } else { file.with_extension("") };
        let flat = dir.join(format!("{name}.rs"));
        file = if flat.is_file() { flat } else { dir.join(name).join("mod.rs") };
    }
    Ok(file)
}

fn is_function(line: &str, name: &str) -> bool {
    let rest = line.split_once("fn ").and_then(|(_, rest)| rest.strip_prefix(name));
    !line.trim_start().starts_with("//") && rest.is_some_and(|rest| rest.starts_with(['(', '<']))
}

fn has_function(source: &str, name: &str) -> bool {
    source.lines().any(|line| is_function(line, name))
}

/// Whether the function is there, below an attribute that makes it a test that runs.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let Some(at) = lines.iter().position(|line| is_function(line, name)) else { return false };
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
    let attributes: Vec<&&str> = above.filter(|line| line.starts_with("#[")).collect();
    let tests = attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    tests && !attributes.iter().any(|line| line.starts_with("#[ignore"))
}

#[test]
fn every_row_names_a_handler_and_a_test_that_exist() {
    let document = fs::read_to_string(root().join("docs/spec-coverage.md")).unwrap();
    let problems = problems(&document, &root());
    assert!(problems.is_empty(), "docs/spec-coverage.md:\n{}", problems.join("\n"));
}

/// The rule against which the document is held would be worth nothing if it let these pass.
#[test]
fn a_row_that_names_nothing_is_found() {
    let handler = "`tests/src/spec_coverage.rs::problems`";
    let test = "oci::tag::tests::tags_follow_the_specification";
    let command = format!("`cargo test -p flotilla-proto {test}`");
    let good = format!("| a | s | r | MUST | {handler} | `{test}` | {command} |");
    assert_eq!(problems(&good, &root()), Vec::<String>::new());
    let not_applicable = "| a | s | r | MAY | not applicable | why | - |";
    assert_eq!(problems(not_applicable, &root()), Vec::<String>::new());
    let typed = good.replace("spec_coverage.rs::problems", "ports.rs::Nobody::free");
    for (row, problem) in [
        (String::new(), "there are no rows"),
        (format!("{good}\n{good}"), "used twice"),
        ("| a | s | r | MUST |".into(), "not seven cells"),
        (good.replace("MUST", "WILL"), "level"),
        (good.replace(handler, ""), "the handler is missing"),
        (good.replace("::problems", "::nothing"), "has no fn nothing"),
        (good.replace("spec_coverage.rs", "nothing.rs"), "there is no tests/src/nothing.rs"),
        (typed, "has no impl of Nobody"),
        (good.replace(&format!("`{test}`"), ""), "the test is missing"),
        (good.replace("tags_follow", "tags_lead"), "has no test tags_lead"),
        (good.replace("oci::tag", "oci::nothing"), "has no mod nothing"),
        (good.replace("tags_follow_the_specification", "parse"), "has no test parse"),
        (good.replace("flotilla-proto", "flotilla-node"), "has no mod oci"),
        (good.replace(&command, "`true`"), "no command"),
        (good.replace(&command, ""), "the command is missing"),
        (not_applicable.replace("why", ""), "a reason"),
    ] {
        let found = problems(&row, &root());
        assert!(found.iter().any(|found| found.contains(problem)), "{problem}: {found:?}");
    }
}
