//! Every name that an expression uses leads somewhere.

use std::collections::BTreeSet;

use hcl_edit::expr::{Expression, ForExpr, Traversal, TraversalOperator};
use hcl_edit::structure::{Attribute, Block, Structure};
use hcl_edit::visit::{self, Visit};

use crate::module::Module;
use crate::schema::{Schema, label};

/// Names that Terraform gives a meaning of its own.
const BUILT_IN: [&str; 6] = ["each", "count", "path", "self", "terraform", "provider"];

/// A walk over one module.
pub(crate) struct References<'a> {
    pub(crate) module: &'a Module,
    pub(crate) schema: &'a Schema,
    /// Outputs of the modules that this one may call.
    pub(crate) outputs: &'a BTreeSet<String>,
    /// Names bound by `for` and `dynamic`, with the resource that they stand for, if it is one.
    scope: Vec<(String, Option<String>)>,
    /// `var.x` and `local.x` that were read.
    pub(crate) used: BTreeSet<String>,
    pub(crate) problems: Vec<String>,
    pub(crate) count: usize,
}

impl<'a> References<'a> {
    pub(crate) fn of(module: &'a Module, schema: &'a Schema, outputs: &'a BTreeSet<String>) -> Self {
        let mut walk = Self {
            module,
            schema,
            outputs,
            scope: Vec::new(),
            used: BTreeSet::new(),
            problems: Vec::new(),
            count: 0,
        };
        for (_, body) in &module.files {
            walk.visit_body(body);
        }
        walk
    }

    fn check(&mut self, path: &[&str]) {
        self.count += 1;
        let bound = self.scope.iter().rev().find(|(name, _)| name == path[0]).map(|(_, kind)| kind.clone());
        let problem = match (bound, path) {
            (Some(Some(kind)), [_, attribute, ..]) => !self.schema.has("resource", &kind, attribute),
            (Some(_), _) => false,
            (None, ["var" | "local", name, ..]) => {
                let full = format!("{}.{name}", path[0]);
                let known = self.module.names.contains(&full);
                self.used.insert(full);
                !known
            }
            (None, ["module", name, output, ..]) => {
                !self.module.names.contains(&format!("module.{name}")) || !self.outputs.contains(*output)
            }
            (None, ["data", kind, name, rest @ ..]) => {
                let known = self.module.names.contains(&format!("data.{kind}.{name}"));
                !known || rest.first().is_some_and(|attribute| !self.schema.has("data", kind, attribute))
            }
            (None, [built_in, ..]) if BUILT_IN.contains(built_in) => false,
            (None, [kind, name, rest @ ..]) => {
                let known = self.module.names.contains(&format!("{kind}.{name}"));
                !known || rest.first().is_some_and(|attribute| !self.schema.has("resource", kind, attribute))
            }
            (None, _) => true,
        };
        if problem {
            self.problems.push(format!("{}: {} leads nowhere", self.module.folder, path.join(".")));
        }
    }

    fn within(&mut self, names: Vec<(String, Option<String>)>, inner: impl FnOnce(&mut Self)) {
        let outer = self.scope.len();
        self.scope.extend(names);
        inner(self);
        self.scope.truncate(outer);
    }
}

/// The names of a path such as `google_pubsub_topic.wal[0].id`, without the index.
fn names(traversal: &Traversal) -> Option<Vec<&str>> {
    let Expression::Variable(root) = &traversal.expr else { return None };
    let mut names = vec![root.as_str()];
    for operator in &traversal.operators {
        match &**operator {
            TraversalOperator::GetAttr(name) => names.push(name.as_str()),
            TraversalOperator::Index(_)
            | TraversalOperator::LegacyIndex(_)
            | TraversalOperator::AttrSplat(_)
            | TraversalOperator::FullSplat(_) => {}
        }
    }
    Some(names)
}

/// The type of the resource whose instances a collection holds, if it is one.
fn kind_of(collection: &Expression) -> Option<String> {
    let Expression::Traversal(traversal) = collection else { return None };
    let names = names(traversal)?;
    (names.len() == 2 && names[0].starts_with("google_")).then(|| names[0].to_owned())
}

impl Visit for References<'_> {
    fn visit_attr(&mut self, node: &Attribute) {
        // The one list that names arguments of the resource itself.
        if !node.has_key("ignore_changes") {
            visit::visit_attr(self, node);
        }
    }

    fn visit_block(&mut self, node: &Block) {
        if node.ident.as_str() == "variable" {
            // Types are no expressions.
            let is_type =
                |part: &Structure| part.as_attribute().is_some_and(|argument| argument.has_key("type"));
            for part in node.body.iter().filter(|part| !is_type(part)) {
                self.visit_structure(part);
            }
            return;
        }
        let dynamic = node.ident.as_str() == "dynamic";
        let bound = dynamic.then(|| (label(node, 0).to_owned(), None)).into_iter().collect();
        self.within(bound, |walk| visit::visit_block(walk, node));
    }

    fn visit_for_expr(&mut self, node: &ForExpr) {
        self.visit_expr(&node.intro.collection_expr);
        let kind = kind_of(&node.intro.collection_expr);
        let key = node.intro.key_var.iter().map(|name| (name.as_str().to_owned(), None));
        let bound = key.chain([(node.intro.value_var.as_str().to_owned(), kind)]).collect();
        self.within(bound, |walk| {
            for part in node.key_expr.iter().chain([&node.value_expr]) {
                walk.visit_expr(part);
            }
            if let Some(condition) = &node.cond {
                walk.visit_expr(&condition.expr);
            }
        });
    }

    fn visit_expr(&mut self, node: &Expression) {
        if let Expression::Variable(name) = node {
            self.check(&[name.as_str()]);
        } else {
            visit::visit_expr(self, node);
        }
    }

    fn visit_traversal(&mut self, node: &Traversal) {
        match names(node) {
            Some(path) => self.check(&path),
            None => self.visit_expr(&node.expr),
        }
        for operator in &node.operators {
            self.visit_traversal_operator(operator);
        }
    }
}
