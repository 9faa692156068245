package ephyra.runtime;

import java.io.File;

/** The working directory: a JVM that has booted before its function was mounted stands in the folder below the mount. */
final class Folder {
    private static final boolean IS_LOADED = load();

    private Folder() {
    }

    /** From the library beside our jar, which is not everywhere. */
    private static boolean load() {
        String jar = Folder.class.getProtectionDomain().getCodeSource().getLocation().getPath();
        File library = new File(new File(jar).getParentFile(), "folder.so");
        if (!library.isFile()) {
            return false;
        }
        System.load(library.getPath());
        return true;
    }

    /** `path` is the address of a C string; 0, or a negative error number. */
    private static native int change(long path);

    /** Enters a folder, whose relative names then lead to where they should. */
    static void enter(String folder) throws ReflectiveOperationException {
        if (!IS_LOADED) {
            return;
        }
        int result = change(new Variables.Memory().string(folder));
        if (result != 0) {
            System.err.println("the folder " + folder + " could not be entered: error " + -result);
        }
    }
}
