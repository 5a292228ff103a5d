//! A file kind's reference as Markdown, made from its JSON Schema: each key, what it takes, what it means.
//!
//! It reads what [`topology::schema_of`] writes: objects with properties, maps (`additionalProperties`), lists, `anyOf`
//! for short forms, `oneOf` for words and for maps of one key.

use std::collections::VecDeque;
use std::fmt::Write as _;

use serde_json::{Map, Value};

const DEFINITIONS: &str = "#/$defs/";

/// The page for a schema. Its headings are the schema's title, then one for each kind of map or word, in the order in
/// which the page first speaks of them.
pub fn page(schema: &Value) -> String {
    let mut page = Page { schema, text: String::new(), waiting: VecDeque::new(), seen: Vec::new() };
    let title = schema["title"].as_str().unwrap_or("reference");
    let _ = writeln!(page.text, "# {}: every key\n", title.trim_start_matches("underlay "));
    page.section(schema);
    while let Some(name) = page.waiting.pop_front() {
        let _ = writeln!(page.text, "\n## {}\n", heading(&name));
        page.section(&schema["$defs"][&name]);
    }
    page.text
}

struct Page<'a> {
    schema: &'a Value,
    text: String,
    /// Definitions that were spoken of and have no section yet.
    waiting: VecDeque<String>,
    seen: Vec<String>,
}

impl Page<'_> {
    fn section(&mut self, definition: &Value) {
        if let Some(description) = definition["description"].as_str() {
            let _ = writeln!(self.text, "{description}\n");
        }
        if let Some(properties) = definition["properties"].as_object() {
            self.properties(properties, &definition["required"]);
        } else if let Some(forms) = definition["oneOf"].as_array() {
            self.forms(forms);
        } else {
            let takes = self.takes(definition);
            let _ = writeln!(self.text, "Takes {takes}.");
        }
    }

    fn properties(&mut self, properties: &Map<String, Value>, required: &Value) {
        let needed = |key: &str| required.as_array().is_some_and(|keys| keys.iter().any(|needed| needed == key));
        self.text.push_str("| key | takes | |\n|---|---|---|\n");
        for (key, value) in properties {
            let takes = self.takes(value);
            let needed = if needed(key) { " **Needed.**" } else { "" };
            let _ = writeln!(self.text, "| `{key}` | {takes} | {}{needed} |", cell(value));
        }
    }

    /// Words, or maps of one key.
    fn forms(&mut self, forms: &[Value]) {
        self.text.push_str("One of\n\n| | takes | |\n|---|---|---|\n");
        for form in forms {
            if let Some(properties) = form["properties"].as_object() {
                for (key, value) in properties {
                    let takes = self.takes(value);
                    let _ = writeln!(self.text, "| `{key}:` | {takes} | {} |", cell(form));
                }
            } else {
                let takes = self.takes(form);
                let _ = writeln!(self.text, "| {takes} | | {} |", cell(form));
            }
        }
    }

    /// What a key takes, in words; definitions are linked and get a section.
    fn takes(&mut self, value: &Value) -> String {
        if let Some(name) = value["$ref"].as_str().and_then(|target| target.strip_prefix(DEFINITIONS)) {
            return self.link(name);
        }
        if let Some(word) = value.get("const") {
            return format!("`{}`", plain(word));
        }
        if let Some(words) = value["enum"].as_array() {
            return words.iter().map(|word| format!("`{}`", plain(word))).collect::<Vec<_>>().join(", ");
        }
        if let Some(forms) = value["anyOf"].as_array().or_else(|| value["oneOf"].as_array()) {
            let forms: Vec<_> = forms.iter().map(|form| self.takes(form)).collect();
            return forms.join(" or ");
        }
        match value["type"].as_str() {
            Some("array") => format!("list of {}", self.takes(&value["items"])),
            Some("object") => match value.get("additionalProperties") {
                Some(of @ Value::Object(_)) => format!("map: name → {}", self.takes(of)),
                _ => "map".to_owned(),
            },
            Some("integer") => match (&value["minimum"], &value["maximum"]) {
                (Value::Number(least), Value::Number(most)) => format!("number, {least} to {most}"),
                _ => "number".to_owned(),
            },
            Some("boolean") => "`true`, `false`".to_owned(),
            Some("string") => match value["format"].as_str() {
                Some("ipv4") => "IPv4 address".to_owned(),
                _ => "text".to_owned(),
            },
            Some("null") => "`null`".to_owned(),
            Some(other) => other.to_owned(),
            None => "anything".to_owned(),
        }
    }

    fn link(&mut self, name: &str) -> String {
        if !self.seen.iter().any(|seen| seen == name) && self.schema["$defs"].get(name).is_some() {
            self.seen.push(name.to_owned());
            self.waiting.push_back(name.to_owned());
        }
        let heading = heading(name);
        format!("[{heading}](#{})", heading.replace(' ', "-"))
    }
}

/// `ProbeExpectationFile` → `probe expectation`.
fn heading(name: &str) -> String {
    let mut heading = String::new();
    for letter in name.strip_suffix("File").unwrap_or(name).chars() {
        if letter.is_uppercase() && !heading.is_empty() {
            heading.push(' ');
        }
        heading.extend(letter.to_lowercase());
    }
    heading
}

/// A description in one line of a table.
fn cell(value: &Value) -> String {
    let description = value["description"].as_str().unwrap_or_default();
    description.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
