//! JSON Schemas of what people write, for editors.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use crate::file::TopologyFile;

/// The topology file's JSON Schema (draft 2020-12), with a description on every key.
///
/// It knows shapes and words; what ties two places of a file together (an address within its VCN) only
/// [`validate`](crate::validate()) knows.
pub fn schema() -> Value {
    schema_of::<TopologyFile>()
}

/// The JSON Schema of any file type, made fit for people: descriptions flow as one line, a key that may be left out
/// is left out rather than null, and no formats that only Rust knows.
pub fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            if let Some(Value::String(description)) = map.get_mut("description") {
                *description = flowing(description);
            }
            let rusts = |format: &str| format.trim_start_matches('u').starts_with("int");
            if map.get("format").and_then(Value::as_str).is_some_and(rusts) {
                map.remove("format");
            }
            without_null(map);
            describe_only_key(map);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Paragraphs stay, line ends within them go.
fn flowing(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

/// A variant of an enum is a map with one key: what is said of the variant is said of the key.
fn describe_only_key(map: &mut Map<String, Value>) {
    let Some(description) = map.get("description").cloned() else { return };
    if map.get("additionalProperties") != Some(&Value::Bool(false)) {
        return;
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties")
        && properties.len() == 1
        && let Some(Value::Object(only)) = properties.values_mut().next()
    {
        only.entry("description").or_insert(description);
    }
}

fn without_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            map.shift_remove("anyOf");
            for (key, value) in only {
                map.entry(key).or_insert(value);
            }
        }
    }
}
