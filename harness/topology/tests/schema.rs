//! The JSON Schema: what editors show.

use serde_json::Value;

/// Calls `visit` with each schema that is a key's value, and the path to it.
fn keys(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                for (name, property) in properties {
                    visit(&format!("{path}/{name}"), property);
                }
            }
            map.iter().for_each(|(name, value)| keys(value, &format!("{path}/{name}"), visit));
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, path, visit)),
        _ => {}
    }
}

#[test]
fn every_key_is_described() {
    let mut count = 0;
    keys(&topology::schema(), "", &mut |path, property| {
        count += 1;
        let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
        assert!(description.len() > 10, "{path} has no description: {property}");
        assert!(description.ends_with(['.', ')']), "{path}: {description}");
    });
    assert!(count >= 35, "only {count} keys found");
}

#[test]
fn every_word_is_described() {
    let schema = topology::schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    for (name, words) in definitions.iter().filter_map(|(name, it)| Some((name, it.get("oneOf")?.as_array()?))) {
        for word in words {
            assert!(word["const"].is_string() && word["description"].is_string(), "{name}: {word}");
        }
    }
    assert_eq!(definitions["Preset"]["oneOf"].as_array().map(Vec::len), Some(9));
}

#[test]
fn it_is_one_document_without_a_home() {
    let schema = topology::schema();
    assert_eq!(schema["title"], "underlay topology");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["description"].is_string());
    assert_eq!(schema.get("$id"), None);
    assert_eq!(schema["additionalProperties"], false, "an unknown key is a mistake in the editor too");
    assert_eq!(schema["required"], serde_json::json!(["nodes"]));
}

#[test]
fn rust_is_not_to_be_seen_in_it() {
    let text = topology::schema().to_string();
    for word in ["Spanned", "uint", "crate::", "IndexMap", "null"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}
