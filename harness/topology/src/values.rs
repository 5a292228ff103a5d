//! Helm values, read as Helm reads them: as YAML 1.1, in files that are YAML 1.2 otherwise.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// A map of Helm values; for fields, by `#[serde(deserialize_with = "…")]`. Plain `yes`, `no`, `on`, `off`, `y` and `n` are
/// booleans, and plain numbers with a leading zero are octal (sigs.k8s.io/yaml, goyaml.v2/resolve.go). In quotes they are
/// text.
///
/// # Errors
/// It is no map, or not one of values.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Map<String, Value>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Map::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            entries(map)
        }
    }

    deserializer.deserialize_map(Entries)
}

/// A whole file of them.
pub(crate) struct Values(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer).map(Self)
    }
}

fn entries<'de, A: MapAccess<'de>>(mut map: A) -> Result<Map<String, Value>, A::Error> {
    let mut entries = Map::new();
    while let Some((key, Node(value))) = map.next_entry()? {
        entries.insert(key, value);
    }
    Ok(entries)
}

/// A value below, as Helm has it.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = serde_saphyr::Spanned::<Untyped>::deserialize(deserializer)?;
        // serde tells no quotes; what is longer where it was written than what it says has some.
        let length = read.defined.span().len();
        Ok(Self(match read.value {
            Untyped(Value::String(text)) if text.len() as u64 == length => plain(&text).unwrap_or(Value::String(text)),
            Untyped(value) => value,
        }))
    }
}

/// A value below, as YAML 1.2 has it.
struct Untyped(Value);

impl<'de> Deserialize<'de> for Untyped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything).map(Self)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Node(value)) = list.next_element()? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        entries(map).map(Value::Object)
    }
}

/// What a plain word is in YAML 1.1 that is text in YAML 1.2, if it is something.
fn plain(text: &str) -> Option<Value> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(Value::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(Value::Bool(false)),
        other => leading_zero(other),
    }
}

/// A number that begins with a zero; where a digit is none of octal's, a decimal one as Go's floats are.
fn leading_zero(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.replace('_', "");
    if digits.len() < 2 || !digits.starts_with('0') || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    match i64::from_str_radix(&digits, 8) {
        Ok(number) => Some(Value::from(sign * number)),
        Err(_) => text.replace('_', "").parse::<f64>().ok().map(Value::from),
    }
}
