//! What `ephyra new` puts into a folder.

/// A template for one family of runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Python,
    Node,
    Java,
    Wasm,
    Provided,
}

/// A file of a new function.
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) is_executable: bool,
}

/// The template for a runtime identifier or a family's name.
pub(crate) fn of_runtime(runtime: &str) -> Option<Template> {
    if runtime.starts_with("python") {
        Some(Template::Python)
    } else if runtime.starts_with("node") {
        Some(Template::Node)
    } else if runtime.starts_with("java") {
        Some(Template::Java)
    } else if runtime == "wasm" {
        Some(Template::Wasm)
    } else if runtime.starts_with("provided") {
        Some(Template::Provided)
    } else {
        None
    }
}

impl Template {
    /// What has to be done in `folder` before it can be deployed, as the beginning of a command line.
    pub(crate) fn build(self, folder: &std::path::Path) -> String {
        match self {
            Self::Java => format!("javac {}/Handler.java && ", folder.display()),
            Self::Wasm => {
                let folder = folder.display();
                format!("rustc --target wasm32-wasip2 -O {folder}/app.rs -o {folder}/app.wasm && ")
            }
            Self::Python | Self::Node | Self::Provided => String::new(),
        }
    }

    /// The files of a new function called `name`, with a URL or without.
    pub(crate) fn files(self, name: &str, runtime: &str, has_url: bool) -> Vec<File> {
        let (source, text, handler) = match self {
            Self::Python => ("app.py", include_str!("app.py"), "app.handler"),
            Self::Node => ("app.mjs", include_str!("app.mjs"), "app.handler"),
            Self::Java => ("Handler.java", include_str!("Handler.java"), "Handler::handle"),
            Self::Wasm => ("app.rs", include_str!("app.rs"), "app"),
            Self::Provided => ("bootstrap", include_str!("bootstrap"), "bootstrap"),
        };
        // A JVM alone takes 50 MB.
        let memory = if self == Self::Java { 256 } else { 128 };
        let compiled = match self {
            Self::Java => {
                "# Compile before you deploy, with javac or what you like: classes here, jars in lib/.\n\
                 exclude = [\"Handler.java\"]\n"
            }
            Self::Wasm => {
                "# Compile before you deploy; a component of wasi:http/proxy works as well, from any language.\n\
                 exclude = [\"app.rs\"]\n"
            }
            Self::Python | Self::Node | Self::Provided => "",
        };
        let unless_url = if has_url { "" } else { "# " };
        let settings = format!(
            "# What `ephyra deploy` sends.\n\
             name = \"{name}\"\n\
             # python, nodejs, java, wasm and provided mean the newest on the machine; `ephyra runtime list` shows them all.\n\
             runtime = \"{runtime}\"\n\
             handler = \"{handler}\"\n\
             # In MB; CPU comes in proportion, one whole at 1769.\n\
             memory = {memory}\n\
             # In seconds.\n\
             timeout = 3\n\
             # An address of its own, which everybody may call.\n\
             {unless_url}url = true\n\
             {compiled}\
             # More variables, whose values do not belong into a file: taken from your shell's environment.\n\
             # secrets = [\"API_TOKEN\"]\n\
             \n\
             [environment]\n\
             GREETING = \"Hello\"\n"
        );
        vec![
            File {
                name: crate::project::FILE_NAME,
                text: settings,
                is_executable: false,
            },
            File {
                name: source,
                text: text.to_owned(),
                is_executable: self == Self::Provided,
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_has_settings_that_can_be_read() {
        for runtime in ["python", "nodejs22.x", "java17", "wasm", "provided.al2023"] {
            for has_url in [false, true] {
                let files = of_runtime(runtime).unwrap().files("mine", runtime, has_url);
                let project: crate::project::Project = toml::from_str(&files[0].text).unwrap();
                assert_eq!((project.name.as_str(), project.runtime.as_str()), ("mine", runtime));
                assert_eq!(project.url.is_some(), has_url);
            }
        }
        assert_eq!(of_runtime("cobol"), None);
    }
}
