//! The house: arrows between rooms, and rules of tidiness.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Who may use whom (`architecture.md` section 1); the binary composes and may use all.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("wire", &[]),
    ("store", &["domain"]),
    ("backup", &["domain", "store"]),
    ("certs", &["domain"]),
    ("logs", &["domain"]),
    ("runtime", &["domain", "logs"]),
    ("builder", &["domain", "logs", "runtime"]),
    ("router", &["domain", "logs"]),
    ("service", &["domain", "store", "logs"]),
    ("engine", &["service", "store", "builder", "runtime", "router", "certs", "logs", "domain", "wire"]),
    ("git", &["service", "logs", "domain"]),
    ("api", &["service", "logs", "domain", "wire"]),
    ("dashboard", &["service", "logs", "domain"]),
    ("cli", &["wire"]),
    ("bridge", &["wire", "certs"]),
];

/// Libraries that belong to certain rooms.
const OWNED: &[(&str, &[&str])] = &[
    ("sled", &["store"]),
    ("bollard", &["runtime"]),
    ("nix", &["runtime"]),
    ("cgroups-rs", &["runtime"]),
    ("askama", &["dashboard"]),
    ("axum", &["api", "dashboard", "git", "tidemill"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().unwrap().to_string()).collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|p| (p["name"].as_str().unwrap().to_string(), names(p))).collect()
}

#[test]
fn rooms_use_only_the_doors_on_the_plan() {
    let all = dependencies();
    let rooms: Vec<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    assert_eq!(all.len(), rooms.len() + 1, "every room is on the plan: {:?}", all.keys());
    for (room, allowed) in ARROWS {
        for used in all[*room].iter().filter(|d| rooms.contains(&d.as_str())) {
            assert!(allowed.contains(&used.as_str()), "{room} must not use {used}");
        }
    }
    for (library, owners) in OWNED {
        for (room, used) in &all {
            assert!(!used.iter().any(|d| d == library) || owners.contains(&room.as_str()), "{room} must not use {library}");
        }
    }
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Lines of the functions in a file, by indentation, which rustfmt guarantees.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let words = trimmed
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("async ")
            .trim_start_matches("const ")
            .trim_start_matches("unsafe ");
        if let Some(name) = words.strip_prefix("fn ")
            && !trimmed.starts_with("//")
        {
            let indent = " ".repeat(line.len() - trimmed.len());
            let end = lines[start..].iter().position(|l| {
                **l == format!("{indent}}}")
                    || (l.ends_with(';') && l.starts_with(&indent) && !l.starts_with(&format!("{indent} ")))
            });
            found.push((name.split('(').next().unwrap_or("").to_string(), end.unwrap_or(0) + 1));
        }
    }
    found
}

#[test]
fn files_and_functions_are_short_and_some_words_do_not_occur() {
    let (mut src, mut tests) = (Vec::new(), Vec::new());
    rust_files(&root().join("src"), &mut src);
    rust_files(&root().join("tests/e2e"), &mut tests);
    let mut problems = Vec::new();
    for path in src.iter().chain(&tests) {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let count = text.lines().count();
        if count > 800 {
            problems.push(format!("{name} has {count} lines; make two files of at most 800"));
        }
        for (function, lines) in functions(&text).into_iter().filter(|(_, lines)| *lines > 100) {
            problems.push(format!("{name}: fn {function} has {lines} lines; split it, at most 100"));
        }
        let is_test = tests.contains(path) || name.contains("/tests/") || name.ends_with("_tests.rs");
        let body = if is_test { "" } else { text.split("#[cfg(test)]").next().unwrap_or("") };
        let banned = [
            (".unwrap()", "handle the error"),
            (".expect(", "handle the error"),
            (concat!("to", "do!("), "finish it"),
            (concat!("un", "implemented!("), "finish it"),
            (concat!("db", "g!("), "use tracing"),
            ("panic!(", "return an error"),
        ];
        for (number, line) in body.lines().enumerate() {
            for (word, instead) in banned.iter().filter(|(word, _)| line.contains(word) && !line.trim_start().starts_with("//"))
            {
                problems.push(format!("{name}:{}: {word} is not for here; {instead}", number + 1));
            }
            let talks = ["src/cli/", "src/tidemill/", "src/runtime/native/hold/mod.rs"].iter().any(|p| name.starts_with(p));
            if !talks && (line.contains("println!(") && !line.contains("eprintln!(")) {
                problems.push(format!("{name}:{}: println! is for the command line; use tracing", number + 1));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_room_says_what_it_owns_and_what_it_must_not_know() {
    for (room, _) in ARROWS {
        let text = fs::read_to_string(root().join("src").join(room).join("lib.rs")).unwrap();
        let doc: String = text.lines().take_while(|l| l.starts_with("//!")).collect::<Vec<_>>().join(" ");
        assert!(doc.len() > 120, "src/{room}/lib.rs needs a doc comment");
        assert!(doc.contains("must not") || doc.contains("nothing"), "src/{room}/lib.rs: say what the room must not know");
    }
}

#[test]
fn the_top_level_is_what_the_customer_fixed() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "web",
        "buildpacks",
        "systemd",
        "tests",
        "README.md",
        "target",
        "LICENSE-APACHE",
        "LICENSE-MIT",
    ];
    for entry in fs::read_dir(root()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "{name} does not belong at the top level");
    }
}
