//! Scenario files on disk, and what they are called.

use std::path::{Component, Path, PathBuf};

use topology::source::{Diagnostic, Diagnostics};

/// Where scenarios are looked for if nobody says: a folder of the current directory.
pub const FOLDER: &str = "scenarios";

/// The deepest a folder is looked through. Ends loops of symbolic links.
const DEEPEST: usize = 16;

/// The scenario files that paths stand for: a file for itself, a folder for every `.yaml` and `.yml` below it. Sorted,
/// each once. Without paths: the folder `scenarios`.
///
/// Folders whose names begin with a dot, and those called `topologies`, are left out unless named.
///
/// # Errors
/// A path isn't there, or a folder holds no scenario.
pub fn discover(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostics> {
    let default = [PathBuf::from(FOLDER)];
    let asked = if paths.is_empty() { &default[..] } else { paths };
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for path in asked {
        let name = path.display().to_string();
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let before = found.len();
                walk(path, 0, &mut found);
                if found.len() == before {
                    let mut diagnostic = Diagnostic::of_file(name, "no scenario is in this folder");
                    diagnostic.help("scenarios are files that end in .yaml or .yml");
                    wrong.push(diagnostic);
                }
            }
            Ok(_) => found.push(path.clone()),
            Err(error) => {
                let mut diagnostic = Diagnostic::of_file(name, format!("the path can't be read: {error}"));
                if paths.is_empty() {
                    diagnostic.help("without arguments, scenarios are looked for in the folder `scenarios` right here");
                }
                wrong.push(diagnostic);
            }
        }
    }
    found.sort();
    found.dedup();
    match Diagnostics::from_list(wrong) {
        Some(diagnostics) => Err(diagnostics),
        None => Ok(found),
    }
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        if path.is_dir() {
            if depth < DEEPEST && !hidden && name != "topologies" {
                walk(&path, depth + 1, found);
            }
        } else if is_yaml(&path) && !hidden {
            found.push(path);
        }
    }
}

/// The YAML files right in a folder.
pub(super) fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| is_yaml(path)).collect()
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// A scenario's name: its path below the nearest folder called `scenarios`, without the ending; else the file's own
/// name.
pub fn scenario_id(path: &Path) -> String {
    let bare = path.with_extension("");
    let parts: Vec<String> = bare
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let folders = parts.len().saturating_sub(1);
    let below = match parts[..folders].iter().rposition(|part| part == FOLDER) {
        Some(at) => &parts[at + 1..],
        None => &parts[folders..],
    };
    below.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for (path, id) in [
            ("scenarios/guide/table.yaml", "guide/table"),
            ("/x/scenarios/old/scenarios/a/b.yml", "a/b"),
            ("./scenarios/a.yaml", "a"),
            ("mine/a.yaml", "a"),
            ("a.yaml", "a"),
            ("mine/scenarios.yaml", "scenarios"),
            ("scenarios/v1.18.yaml", "v1.18"),
        ] {
            assert_eq!(scenario_id(Path::new(path)), id, "of {path}");
        }
    }
}
