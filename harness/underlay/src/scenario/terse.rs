//! Fields with a short form: a word where a map would say more, a map where a list would.
//!
//! Written by hand since serde's untagged enums lose positions and say only that nothing matched.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// The long form of a [`Terse`] or [`OneOrMany`].
pub trait Full {
    /// What is expected where it stands, for error messages.
    const EXPECTED: &'static str;
}

/// A word, or a map that says more.
#[derive(Debug, Clone)]
pub enum Terse<T> {
    /// The word.
    Short(String),
    /// The map.
    Full(T),
}

impl<'de, T: Full + Deserialize<'de>> Deserialize<'de> for Terse<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShortOrFull<T>(PhantomData<T>);

        impl<'de, T: Full + Deserialize<'de>> Visitor<'de> for ShortOrFull<T> {
            type Value = Terse<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Terse<T>, E> {
                Ok(Terse::Short(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Terse<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Terse::Full)
            }
        }

        deserializer.deserialize_any(ShortOrFull(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Terse<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Terse{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = generator.subschema_for::<T>();
        json_schema!({"anyOf": [{"type": "string"}, full]})
    }
}

/// A map, or a list of such maps.
#[derive(Debug, Clone)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<'de, T: Full + Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapOrList<T>(PhantomData<T>);

        impl<'de, T: Full + Deserialize<'de>> Visitor<'de> for MapOrList<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|only| OneOrMany(vec![only]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(next) = list.next_element()? {
                    all.push(next);
                }
                Ok(OneOrMany(all))
            }
        }

        deserializer.deserialize_any(MapOrList(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}
