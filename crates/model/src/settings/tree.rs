//! A YAML document as a tree of texts, each with its place: what a check needs that names every fault of a file at once.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{NonFiniteFloatPolicy, Options, Spanned};

/// One node with its place.
pub type Node = Spanned<Tree>;

/// A node.
pub enum Tree {
    /// A text.
    Text(String),
    /// Nothing.
    Null,
    /// A truth value.
    Truth(bool),
    /// A whole number.
    Whole(u64),
    /// A number with a sign or a fraction, which no setting has.
    Other,
    /// A list.
    List(Vec<Node>),
    /// Fields in their order.
    Map(Vec<(String, Node)>),
}

/// Reads a document; an empty one is a map without fields.
pub fn read(text: &str) -> Result<Node, serde_yaml::Error> {
    serde_yaml::from_str_with_options(text, options())
}

/// YAML 1.2 as it is written down: a repeated key is a mistake.
fn options() -> Options {
    serde_yaml::options! { strict_booleans: true, non_finite_float_policy: NonFiniteFloatPolicy::PassThrough, with_snippet: false }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key()? {
            fields.push((key, map.next_value()?));
        }
        Ok(Tree::Map(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, is_true: bool) -> Result<Tree, E> {
        Ok(Tree::Truth(is_true))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(u64::try_from(number).map_or(Tree::Other, Tree::Whole))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Whole(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }
}
