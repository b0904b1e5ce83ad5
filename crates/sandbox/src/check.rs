//! Looks at a module before anything expensive happens to it.

use crate::{
    engine::{FEATURES, FORMAT, MAX_TABLE_ELEMENTS, MAX_TABLES},
    wasi::IMPORTS,
};
use wasmparser::{
    ExternalKind, FuncToValidate, FuncValidatorAllocations, FunctionBody, Parser, Payload, TypeRef,
    ValidPayload, Validator, ValidatorResources,
};

/// How large a module may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleLimits {
    /// Bytes of the whole module.
    pub module_bytes: usize,
    /// Bytes of one function's body.
    pub body_bytes: usize,
}

impl Default for ModuleLimits {
    fn default() -> Self {
        Self { module_bytes: 2 << 20, body_bytes: 128 << 10 }
    }
}

/// Why a module was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// The module is over its size limit.
    #[error(
        "the module has {bytes} bytes, at most {limit} are allowed: strip it, build with \
         opt-level \"s\", and move data into files of the job"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A function is over its size limit.
    #[error(
        "function {function} has a body of {bytes} bytes, at most {limit} are allowed: split it, \
         or inline less"
    )]
    BodyTooLarge {
        /// Index of the function, imports included.
        function: u32,
        /// Size of its body.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// An import that the format does not offer.
    #[error(
        "the module imports `{module}` `{name}`, which {FORMAT} does not offer: there are only \
         files under /data, stdin, stdout and the products of `{products}`",
        products = muster_kernel::IMPORT_MODULE
    )]
    UnknownImport {
        /// The import's module name.
        module: String,
        /// The import's field name.
        name: String,
    },
    /// A memory, table, global or tag imported.
    #[error("the module imports `{module}` `{name}` as something other than a function: define it")]
    ImportKind {
        /// The import's module name.
        module: String,
        /// The import's field name.
        name: String,
    },
    /// No `_start` or no `memory` exported.
    #[error("the module exports no {what}: build it as a command for wasm32-wasip1")]
    MissingExport {
        /// The export that is missing.
        what: &'static str,
    },
    /// Too many tables.
    #[error("the module defines {count} tables, at most {MAX_TABLES} are allowed: merge them")]
    TooManyTables {
        /// Tables defined.
        count: u32,
    },
    /// A table too large to begin with.
    #[error(
        "a table starts with {elements} elements, at most {MAX_TABLE_ELEMENTS} are allowed: use \
         fewer"
    )]
    TableTooLarge {
        /// Elements that it starts with.
        elements: u64,
    },
    /// Not WASM, not valid, or a feature that the format leaves out.
    #[error("at byte {offset}: {reason}; {FORMAT} is WASM 1.0 with bulk memory and 128-bit SIMD")]
    Invalid {
        /// Where.
        offset: u64,
        /// What the validator says.
        reason: String,
    },
}

impl From<wasmparser::BinaryReaderError> for ModuleError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        // Some messages show bytes over many lines.
        let reason = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        Self::Invalid { offset: error.offset() as u64, reason }
    }
}

/// Checks that `module` is a valid module of the format within `limits`.
///
/// Validation takes time that grows with the module; for modules of strangers the compiler's child
/// process does it under limits.
///
/// # Errors
/// The first thing found, with its place and the fix.
pub fn check_module(module: &[u8], limits: &ModuleLimits) -> Result<(), ModuleError> {
    if module.len() > limits.module_bytes {
        return Err(ModuleError::TooLarge { bytes: module.len(), limit: limits.module_bytes });
    }
    let mut checker = Checker {
        limits: *limits,
        validator: Validator::new_with_features(FEATURES),
        allocations: FuncValidatorAllocations::default(),
        has_start: false,
        has_memory: false,
    };
    for payload in Parser::new(0).parse_all(module) {
        checker.payload(&payload?)?;
    }
    checker.finish()
}

struct Checker {
    limits: ModuleLimits,
    validator: Validator,
    allocations: FuncValidatorAllocations,
    has_start: bool,
    has_memory: bool,
}

impl Checker {
    fn payload(&mut self, payload: &Payload<'_>) -> Result<(), ModuleError> {
        // Validity first: the checks below read only what is known to be well-formed.
        match self.validator.payload(payload)? {
            ValidPayload::Func(function, body) => self.body(function, &body)?,
            ValidPayload::Parser(_) => {
                let reason = "a module inside a module".to_owned();
                return Err(ModuleError::Invalid { offset: 0, reason });
            }
            ValidPayload::Ok | ValidPayload::End(_) => {}
        }
        match payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    check_import(&import?)?;
                }
            }
            Payload::TableSection(section) if section.count() > MAX_TABLES => {
                return Err(ModuleError::TooManyTables { count: section.count() });
            }
            Payload::TableSection(section) => {
                for table in section.clone() {
                    let elements = table?.ty.initial;
                    if elements > MAX_TABLE_ELEMENTS {
                        return Err(ModuleError::TableTooLarge { elements });
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    self.has_start |= export.name == "_start" && export.kind == ExternalKind::Func;
                    self.has_memory |=
                        export.name == "memory" && export.kind == ExternalKind::Memory;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn body(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), ModuleError> {
        let bytes = body.as_bytes().len();
        if bytes > self.limits.body_bytes {
            let limit = self.limits.body_bytes;
            return Err(ModuleError::BodyTooLarge { function: function.index, bytes, limit });
        }
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        validator.validate(body)?;
        self.allocations = validator.into_allocations();
        Ok(())
    }

    fn finish(self) -> Result<(), ModuleError> {
        if !self.has_start {
            return Err(ModuleError::MissingExport { what: "function `_start`" });
        }
        if !self.has_memory {
            return Err(ModuleError::MissingExport { what: "memory `memory`" });
        }
        Ok(())
    }
}

fn check_import(import: &wasmparser::Import<'_>) -> Result<(), ModuleError> {
    let (module, name) = (import.module.to_owned(), import.name.to_owned());
    if !matches!(import.ty, TypeRef::Func(_)) {
        return Err(ModuleError::ImportKind { module, name });
    }
    if !IMPORTS.contains(&(import.module, import.name)) {
        return Err(ModuleError::UnknownImport { module, name });
    }
    Ok(())
}
