//! Every type, argument and block is one that the provider knows.

use std::collections::BTreeSet;

use hcl_edit::expr::Expression;
use hcl_edit::structure::{Block, Body};

const SCHEMA: &str = include_str!("schema.hcl");
/// Terraform's own, at every resource.
const META: [&str; 6] = ["count", "for_each", "depends_on", "provider", "lifecycle", "provisioner"];

/// The arguments and blocks of the provider's types.
pub(crate) struct Schema(Body);

impl Schema {
    pub(crate) fn read() -> Self {
        let body: Body = SCHEMA.parse().unwrap();
        assert!(body.blocks().count() >= 15, "the list is not complete");
        Self(body)
    }

    /// The description of a resource or data source.
    fn of(&self, kind: &str, name: &str) -> Option<&Body> {
        let of_kind = self.0.blocks().filter(|block| block.ident.as_str() == kind);
        of_kind.map(|block| (label(block, 0), &block.body)).find(|(of, _)| *of == name).map(|(_, body)| body)
    }

    /// What is wrong with a resource or data source.
    pub(crate) fn problems(&self, block: &Block) -> Vec<String> {
        let (kind, name) = (block.ident.as_str(), label(block, 0));
        let Some(known) = self.of(kind, name) else {
            return vec![format!("{kind} {name} is not in the list")];
        };
        let mut problems = Vec::new();
        compare(&block.body, known, &META, &format!("{name}.{}", label(block, 1)), &mut problems);
        problems
    }

    /// Whether an expression may read this of a resource or data source.
    pub(crate) fn has(&self, kind: &str, name: &str, attribute: &str) -> bool {
        self.of(kind, name).is_some_and(|known| {
            ["required", "optional", "exported"].iter().any(|list| words(known, list).contains(attribute))
                || known.get_blocks(attribute).next().is_some()
        })
    }
}

pub(crate) fn label(block: &Block, at: usize) -> &str {
    block.labels.get(at).map_or("", |label| label.as_str())
}

fn words(body: &Body, list: &str) -> BTreeSet<String> {
    let Some(attribute) = body.get_attribute(list) else { return BTreeSet::new() };
    let Expression::Array(array) = &attribute.value else { panic!("{list} is no list") };
    array.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// A `dynamic` block stands for the block that its label names, with the body of its `content`.
fn shape(block: &Block) -> (&str, &Body) {
    if block.ident.as_str() != "dynamic" {
        return (block.ident.as_str(), &block.body);
    }
    (label(block, 0), &block.body.get_blocks("content").next().unwrap().body)
}

fn compare(body: &Body, known: &Body, meta: &[&str], path: &str, problems: &mut Vec<String>) {
    let (required, optional) = (words(known, "required"), words(known, "optional"));
    let mut seen = BTreeSet::new();
    for attribute in body.attributes() {
        let name = attribute.key.as_str();
        seen.insert(name.to_owned());
        if !required.contains(name) && !optional.contains(name) && !meta.contains(&name) {
            problems.push(format!("{path}: there is no argument {name}"));
        }
    }
    for block in body.blocks() {
        let (name, inner) = shape(block);
        seen.insert(name.to_owned());
        match known.get_blocks(name).next() {
            Some(known) => compare(inner, &known.body, &[], &format!("{path}.{name}"), problems),
            None if meta.contains(&name) => {}
            None => problems.push(format!("{path}: there is no block {name}")),
        }
    }
    for name in required.difference(&seen) {
        problems.push(format!("{path}: {name} is missing"));
    }
}
