//! The scenario file's JSON Schema: a description on every key, and the copy in docs/ is up to date.
//!
//! `BLESS=1 cargo test -p underlay --test scenario_files_schema` writes the copy.

use std::fs;
use std::path::Path;

use serde_json::Value;

#[test]
fn every_key_is_described() {
    let schema = underlay::scenario::schema();
    let mut missing = Vec::new();
    let mut keys = 0;
    look("", &schema, &mut keys, &mut missing);
    assert!(keys > 60, "only {keys} keys were found");
    assert!(missing.is_empty(), "without a description: {missing:#?}");
}

fn look(path: &str, value: &Value, keys: &mut usize, missing: &mut Vec<String>) {
    if let Some(properties) = value.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            *keys += 1;
            if property.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
                missing.push(format!("{path}/{name}"));
            }
        }
    }
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(name, value)| look(&format!("{path}/{name}"), value, keys, missing))
        }
        Value::Array(list) => list.iter().for_each(|value| look(path, value, keys, missing)),
        _ => {}
    }
}

#[test]
fn the_copy_in_docs_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/scenario.json");
    let schema = format!("{:#}\n", underlay::scenario::schema());
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, &schema).expect("written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == schema, "docs/schema/scenario.json is out of date: run this test with BLESS=1");
}
