//! jq: compiling a program and evaluating it on one value.
//!
//! A program is a pure function of the message. What else jq offers is left out: the environment, further inputs,
//! other files, the clock and the local time zone, logging, and ending the process.

use std::cell::RefCell;

use jaq_core::data::HasLut;
use jaq_core::load::{self, Arena, File, Loader, parse};
use jaq_core::native::{self, Fun};
use jaq_core::{Compiler, Ctx, DataT, Error, Exn, Filter, Lut, Vars};
use jaq_json::Val;

use super::problem::{self, AdapterProblem};
use super::{json, redact};
use crate::config::AdapterSource;

/// Stack of a thread that evaluates: jaq recurses natively. Only what is used costs memory.
pub(super) const STACK: usize = 128 * 1024 * 1024;
/// Stack of the gateway's own thread that compiles, so that no program within the limit overflows it.
const LARGE_STACK: usize = 512 * 1024 * 1024;
/// Longest program in bytes.
const MAX_PROGRAM: usize = 32 * 1024;
/// Longest message of `error(…)` in characters.
const MAX_MESSAGE: usize = 500;

/// Native filters that adapters do not have.
const NATIVE_WITHOUT: [&str; 7] =
    ["env", "now", "halt", "debug_empty", "stderr_empty", "localtime", "strflocaltime"];
/// Definitions of the library that need them.
const DEFINED_WITHOUT: [&str; 4] = ["halt", "halt_error", "debug", "stderr"];
/// Makes a program's own `error` known from those of the library and of the interpreter.
const DEFINITIONS: &str = "
    def error: adapter_error as $x | .;
    def error(message): (message | adapter_error) as $x | .;";

/// What native filters see besides their input.
struct Data;

impl DataT for Data {
    type V<'a> = Val;
    type Data<'a> = Shared<'a>;
}

#[derive(Clone)]
struct Shared<'a> {
    lut: &'a Lut<Data>,
    /// What the program's own `error` raised last.
    raised: &'a RefCell<Option<Val>>,
}

impl<'a> HasLut<'a, Data> for Shared<'a> {
    fn lut(&self) -> &'a Lut<Data> {
        self.lut
    }
}

/// A compiled program.
pub(super) struct Program {
    text: String,
    filter: Filter<Data>,
}

/// Why a program gave no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It raised `error(…)`: its message, for the sender.
    Rejected(String),
    /// It is at fault itself: what went wrong, with pieces of the message in it.
    Failed(String),
}

impl Program {
    /// Compiles a program, or says all that is wrong with it.
    pub(super) fn compile(source: &AdapterSource) -> Result<Self, Vec<AdapterProblem>> {
        let place = problem::Program { name: &source.name, text: &source.text };
        if source.text.len() > MAX_PROGRAM {
            return Err(vec![place.whole(format!("is longer than {MAX_PROGRAM} bytes"))]);
        }
        let arena = Arena::default();
        let modules = Loader::new(definitions())
            .load(&arena, File { code: source.text.as_str(), path: () })
            .map_err(|errors| place.loading(errors))?;
        // `import "x" as $x` is not the loader's affair.
        load::import(&modules, |_| Err(String::new())).map_err(|errors| place.loading(errors))?;
        let filter = Compiler::default()
            .with_funs(natives())
            .compile(modules)
            .map_err(|errors| place.compiling(errors))?;
        Ok(Self { text: source.text.clone(), filter })
    }

    /// Evaluates the program. The result is one line of JSON, or nothing when the program has none.
    pub(super) fn run(&self, input: Val, max_output: usize) -> Result<Option<Vec<u8>>, Failure> {
        match self.value(input)? {
            Some(value) => json::write(&value, max_output).map(Some).map_err(Failure::Failed),
            None => Ok(None),
        }
    }

    /// The one value of the program.
    pub(super) fn value(&self, input: Val) -> Result<Option<Val>, Failure> {
        let raised = RefCell::new(None);
        let shared = Shared { lut: &self.filter.lut, raised: &raised };
        let context = Ctx::<Data>::new(shared, Vars::new([]));
        let mut values = self.filter.id.run((context, input));
        let failed = |error: Exn<'_, Val>| match error.get_err() {
            Ok(error) => failure(&error.into_val(), raised.take().as_ref()),
            Err(_) => Failure::Failed("the program left a label or a loop that is not its own".to_owned()),
        };
        let Some(first) = values.next() else { return Ok(None) };
        let value = first.map_err(failed)?;
        match values.next() {
            None => Ok(Some(value)),
            Some(Err(error)) => Err(failed(error)),
            Some(Ok(_)) => Err(Failure::Failed(
                "has several results; put them into an array, or take the `first(…)`".to_owned(),
            )),
        }
    }

    /// A message without pieces of what was sent, for logs.
    pub(super) fn redacted(&self, message: &str) -> String {
        redact::without_values(message, &self.text)
    }
}

/// Whose fault an error is: that of the message when the program itself raised it.
fn failure(value: &Val, raised: Option<&Val>) -> Failure {
    let text = match value {
        Val::TStr(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Val::Null | Val::Bool(_) | Val::Num(_) | Val::BStr(_) | Val::Arr(_) | Val::Obj(_) => {
            value.to_string()
        }
    };
    if raised.is_some_and(|raised| raised == value) {
        Failure::Rejected(redact::shortened(&text, MAX_MESSAGE))
    } else {
        Failure::Failed(text)
    }
}

/// The library's definitions, and ours over them.
fn definitions() -> impl Iterator<Item = parse::Def<&'static str>> {
    let all = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let ours = parse(DEFINITIONS, |parser| parser.defs()).unwrap_or_default();
    all.filter(|definition| !DEFINED_WITHOUT.contains(&definition.name)).chain(ours)
}

fn natives() -> impl Iterator<Item = Fun<Data>> {
    let all = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let raise = native::run::<Data>(("adapter_error", native::v(0), |input| {
        input.0.data().raised.replace(Some(input.1.clone()));
        native::bome(Err(Error::new(input.1)))
    }));
    all.filter(|(name, ..)| !NATIVE_WITHOUT.contains(name)).chain([raise])
}

/// Names of all filters of the library, with the number of their arguments.
pub(super) fn names() -> Vec<(String, usize)> {
    let defined = definitions().map(|definition| (definition.name.to_owned(), definition.args.len()));
    let native = natives().map(|(name, arguments, _)| (name.to_owned(), arguments.len()));
    defined.chain(native).filter(|(name, _)| name != "adapter_error" && !name.ends_with("_empty")).collect()
}

/// Does something that may recurse deeply, on a stack that is large enough.
pub(super) fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("adapter".to_owned()).stack_size(LARGE_STACK);
        let thread = builder.spawn_scoped(scope, work).map_err(|error| error.to_string())?;
        thread.join().map_err(|_| "the interpreter panicked".to_owned())
    })
}
