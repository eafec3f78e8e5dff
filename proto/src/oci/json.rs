//! A bounded, strict reader of JSON documents: no duplicate keys, no trailing data, limited depth and number of values.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::{cell::Cell, collections::BTreeMap, fmt};

/// Deepest nesting of arrays and objects.
const DEPTH_MAX: usize = 32;
/// Most values in one document.
const VALUES_MAX: usize = 400_000;

/// A JSON value.
#[derive(Debug)]
pub(super) enum Json {
    Null,
    /// A number that is an unsigned integer below 2⁶³.
    Size(u64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
    /// A boolean or another number: nothing a registry looks at.
    Other,
}

/// Reads a whole document.
pub(super) fn parse(body: &[u8]) -> Result<Json, serde_json::Error> {
    let values = Cell::new(0);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Strict { values: &values, depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    values: &'a Cell<usize>,
    depth: usize,
}

impl Strict<'_> {
    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom("the document is nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES_MAX {
            return Err(D::Error::custom("the document has too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(if number <= i64::MAX as u64 { Json::Size(number) } else { Json::Other })
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut object = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the key {name:?} appears twice")));
            }
            object.insert(name, value);
        }
        Ok(Json::Object(object))
    }
}
