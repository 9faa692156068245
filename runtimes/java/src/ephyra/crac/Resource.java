package ephyra.crac;

/** Something that wants to know of checkpoints: what org.crac looks for by its name. */
public interface Resource {
    void beforeCheckpoint(Context<? extends Resource> context) throws Exception;

    void afterRestore(Context<? extends Resource> context) throws Exception;
}
