//! Rules on functions: lines, parameters, nesting. Code inside macros is not seen.

use super::source::Source;
use super::{Finding, Rule};
use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

const MAX_FUNCTION_LINES: usize = 70;
/// `self` counts.
const MAX_PARAMETERS: usize = 5;
const MAX_NESTING: usize = 4;

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    let mut visitor = Functions { source, findings, depth: 0 };
    if let Some(tree) = &source.tree {
        visitor.visit_file(tree);
    }
}

struct Functions<'a> {
    source: &'a Source,
    findings: &'a mut Vec<Finding>,
    /// Branches and loops around the present place, inside its function.
    depth: usize,
}

impl Functions<'_> {
    fn report(&mut self, span: Span, rule: Rule, message: String) {
        self.findings.push(self.source.finding(span.start().line, rule, message));
    }

    /// From `fn` to the closing brace; attributes and docs do not count.
    fn judge_length(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let lines = block.span().end().line + 1 - first;
        if lines > MAX_FUNCTION_LINES {
            let name = signature.ident.to_string();
            let message = format!("{name:?} has {lines} lines, at most {MAX_FUNCTION_LINES}");
            self.report(signature.span(), Rule::FunctionLength, message);
        }
    }

    fn judge_parameters(&mut self, signature: &syn::Signature) {
        let count = signature.inputs.len();
        if count > MAX_PARAMETERS {
            let name = signature.ident.to_string();
            let message = format!("{name:?} has {count} parameters, at most {MAX_PARAMETERS}");
            self.report(signature.span(), Rule::Parameters, message);
        }
    }

    /// Visits what is inside a function, with its own count of nesting.
    fn inside_function(&mut self, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::take(&mut self.depth);
        visit(self);
        self.depth = outer;
    }

    /// Visits what is inside a branch or loop; the first that is too deep is reported.
    fn one_deeper(&mut self, span: Span, visit: impl FnOnce(&mut Self)) {
        self.depth += 1;
        if self.depth == MAX_NESTING + 1 {
            let message = format!("more than {MAX_NESTING} branches and loops in one another");
            self.report(span, Rule::Nesting, message);
        }
        visit(self);
        self.depth -= 1;
    }

    /// `else if` continues a chain; it is not deeper than its `if`.
    fn visit_chain(&mut self, branch: &syn::ExprIf) {
        self.visit_expr(&branch.cond);
        self.visit_block(&branch.then_branch);
        match branch.else_branch.as_ref().map(|(_, rest)| rest.as_ref()) {
            Some(syn::Expr::If(next)) => self.visit_chain(next),
            Some(other) => self.visit_expr(other),
            None => {}
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.judge_length(&item.sig, &item.block);
        self.judge_parameters(&item.sig);
        self.inside_function(|inner| visit::visit_item_fn(inner, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        for inner in &item.items {
            let syn::ImplItem::Fn(function) = inner else {
                continue;
            };
            self.judge_length(&function.sig, &function.block);
            // The parameters of a trait's function are the trait's.
            if item.trait_.is_none() {
                self.judge_parameters(&function.sig);
            }
        }
        self.inside_function(|inner| visit::visit_item_impl(inner, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.judge_parameters(&item.sig);
        if let Some(block) = &item.default {
            self.judge_length(&item.sig, block);
        }
        self.inside_function(|inner| visit::visit_trait_item_fn(inner, item));
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        self.one_deeper(branch.span(), |inner| inner.visit_chain(branch));
    }

    fn visit_expr_match(&mut self, branch: &'ast syn::ExprMatch) {
        self.one_deeper(branch.span(), |inner| visit::visit_expr_match(inner, branch));
    }

    fn visit_expr_for_loop(&mut self, branch: &'ast syn::ExprForLoop) {
        self.one_deeper(branch.span(), |inner| visit::visit_expr_for_loop(inner, branch));
    }

    fn visit_expr_while(&mut self, branch: &'ast syn::ExprWhile) {
        self.one_deeper(branch.span(), |inner| visit::visit_expr_while(inner, branch));
    }

    fn visit_expr_loop(&mut self, branch: &'ast syn::ExprLoop) {
        self.one_deeper(branch.span(), |inner| visit::visit_expr_loop(inner, branch));
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::rules;

    #[test]
    fn functions_of_every_kind_have_a_length() {
        let body = |lines: usize| format!("fn a() {{\n{}}}", "b();\n".repeat(lines - 2));
        let wraps = [
            "BODY",
            "mod m { BODY }",
            "impl A { BODY }",
            "impl T for A { BODY }",
            "trait T { BODY }",
            "fn outer() { BODY }",
        ];
        for wrap in wraps {
            let text = |lines| wrap.replace("BODY", &body(lines));
            assert!(rules("xtask/src/a.rs", &text(70)).is_empty(), "{wrap}");
            let found = rules("xtask/src/a.rs", &text(71));
            assert!(!found.is_empty() && found.iter().all(|rule| *rule == "function_length"));
        }
        let documented = format!("/// a\n/// b\n#[must_use]\n{}", body(70));
        assert!(rules("xtask/src/a.rs", &documented).is_empty());
        let excepted = format!("// ALLOW(function_length) because a story\n{}", body(71));
        assert!(rules("xtask/src/a.rs", &excepted).is_empty());
    }

    #[test]
    fn parameters_are_counted_with_self() {
        let cases = [
            ("fn a(b: u8, c: u8, d: u8, e: u8, f: u8) {}", 0),
            ("fn a(b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) {}", 1),
            ("impl A { fn a(&self, c: u8, d: u8, e: u8, f: u8, g: u8) {} }", 1),
            ("trait A { fn a(&self, c: u8, d: u8, e: u8, f: u8, g: u8); }", 1),
            ("impl T for A { fn a(&self, c: u8, d: u8, e: u8, f: u8, g: u8) {} }", 0),
        ];
        for (text, count) in cases {
            assert_eq!(rules("xtask/src/a.rs", text), vec!["parameters"; count], "{text}");
        }
    }

    #[test]
    fn nesting_counts_branches_and_loops() {
        let cases = [
            ("if a { for b in c { while d { match e { _ => {} } } } }", 0),
            ("if a { for b in c { while d { match e { _ => loop {} } } } }", 1),
            ("if a {} else if b {} else if c {} else if d {} else if e {} else { f() }", 0),
            ("if a { if b { if c { if d { g(|| if e {}) } } } }", 1),
            ("if a { if b { if c { if d { fn g() { if e {} } } } } }", 0),
            ("if a { if b { if c { if d { if e { if f {} } } } } }", 1),
        ];
        for (body, count) in cases {
            let text = format!("fn a() {{ {body} }}");
            assert_eq!(rules("xtask/src/a.rs", &text), vec!["nesting"; count], "{body}");
        }
    }
}
