//! Becoming another program: execve(2).

use std::ffi::CString;
use std::io;
use std::ptr;

/// What is to be executed, made ready before the process is copied.
#[derive(Debug)]
pub struct Program {
    arguments: Vec<CString>,
    variables: Vec<CString>,
}

/// Why a program cannot be executed as asked.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is no argument that names the program.
    #[error("there is no program to execute")]
    Empty,
    /// A C string ends at its first zero byte.
    #[error("an argument or variable contains a zero byte")]
    ZeroByte,
}

impl Program {
    /// A program by its absolute path, which is also the first argument, and its environment variables.
    pub fn new(arguments: &[String], variables: &[(String, String)]) -> Result<Self, ProgramError> {
        if arguments.is_empty() {
            return Err(ProgramError::Empty);
        }
        let arguments = arguments.iter().map(|text| CString::new(text.as_str()));
        let variables = variables
            .iter()
            .map(|(name, value)| CString::new(format!("{name}={value}")));
        Ok(Self {
            arguments: arguments
                .collect::<Result<_, _>>()
                .map_err(|_| ProgramError::ZeroByte)?,
            variables: variables
                .collect::<Result<_, _>>()
                .map_err(|_| ProgramError::ZeroByte)?,
        })
    }

    /// Becomes the program. Returns only when that has failed.
    pub fn execute(&self) -> io::Error {
        let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
            strings
                .iter()
                .map(|string| string.as_ptr())
                .chain([ptr::null()])
                .collect()
        };
        let arguments = pointers(&self.arguments);
        let variables = pointers(&self.variables);
        // SAFETY: both arrays end with a null pointer, all other entries are C strings that `self` keeps alive, and
        // `arguments` has at least one of them, as `new` has checked.
        unsafe { libc::execve(arguments[0], arguments.as_ptr(), variables.as_ptr()) };
        io::Error::last_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_c_string_cannot_hold_is_refused() {
        assert!(matches!(Program::new(&[], &[]), Err(ProgramError::Empty)));
        let zero = "a\0b".to_owned();
        assert!(matches!(
            Program::new(std::slice::from_ref(&zero), &[]),
            Err(ProgramError::ZeroByte)
        ));
        assert!(matches!(
            Program::new(&["/bin/true".to_owned()], &[("A".to_owned(), zero)]),
            Err(ProgramError::ZeroByte)
        ));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let program = Program::new(&["/nowhere/at/all".to_owned()], &[]).unwrap();
        assert_eq!(program.execute().kind(), io::ErrorKind::NotFound);
    }
}
