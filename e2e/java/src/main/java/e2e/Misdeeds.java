package e2e;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/** What a function must not do. */
public class Misdeeds {
    private static final List<Object> KEPT = new ArrayList<>();
    private static final String BORN = UUID.randomUUID().toString();
    private static int count;
    private static byte[] before = new byte[16];

    private static sun.misc.Unsafe unsafe() throws Exception {
        Field field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        return (sun.misc.Unsafe) field.get(null);
    }

    /** The runtime's control socket, which a function has no business with. */
    @SuppressWarnings("deprecation")
    private static FileDescriptor control() throws Exception {
        FileDescriptor descriptor = new FileDescriptor();
        unsafe().putInt(descriptor, unsafe().objectFieldOffset(FileDescriptor.class.getDeclaredField("fd")), 3);
        return descriptor;
    }

    private static byte[] identifier(Context context) {
        UUID id = UUID.fromString(context.getAwsRequestId());
        return ByteBuffer.allocate(16).putLong(id.getMostSignificantBits()).putLong(id.getLeastSignificantBits()).array();
    }

    private static byte[] answer(byte[] id, String text) {
        ByteBuffer frame = ByteBuffer.allocate(8 + 16 + text.length());
        frame.put((byte) (16 + text.length())).put(new byte[3]).put(new byte[] {(byte) 0x84, 2, 0, 0}).put(id);
        return frame.put(text.getBytes()).array();
    }

    private static void say(byte[]... frames) throws Exception {
        int length = 0;
        for (byte[] frame : frames) {
            length += frame.length;
        }
        ByteBuffer all = ByteBuffer.allocate(length);
        for (byte[] frame : frames) {
            all.put(frame);
        }
        FileOutputStream out = new FileOutputStream(control());
        KEPT.add(out);
        out.write(all.array());
    }

    private static void run(String... command) throws Exception {
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
    }

    public Object handle(Map<String, String> event, Context context) throws Exception {
        byte[] id = identifier(context);
        byte[] last = before;
        before = id;
        count++;
        switch (event.getOrDefault("do", "")) {
            case "spins":
                while (true) {
                    count |= 1;
                }
            case "forks without end":
                run("/bin/sh", "-c", event.get("bomb"));
                Thread.sleep(60_000);
                break;
            case "leaves children":
                run("/bin/sleep", "600");
                break;
            case "leaks memory":
                while (true) {
                    KEPT.add(new byte[1 << 20]);
                }
            case "leaks memory that is not the heap's":
                while (true) {
                    unsafe().setMemory(unsafe().allocateMemory(8 << 20), 8 << 20, (byte) 1);
                }
            case "leaks descriptors":
                while (true) {
                    KEPT.add(new FileInputStream("/dev/null"));
                }
            case "leaks threads":
                while (true) {
                    Thread thread = new Thread(() -> {
                        try {
                            Thread.sleep(600_000);
                        } catch (InterruptedException ended) {
                            return;
                        }
                    });
                    thread.setDaemon(true);
                    thread.start();
                }
            case "answers late":
                Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                    while (true) {
                        count |= 1;
                    }
                }));
                Thread.sleep(60_000);
                break;
            case "answers twice":
                say(answer(id, "\"first\""), answer(id, "\"second\""));
                break;
            case "answers another's":
                say(answer(last, "\"late\""));
                Thread.sleep(60_000);
                break;
            case "writes garbage":
                say("GET / HTTP/1.1\r\n\r\n".getBytes());
                Thread.sleep(60_000);
                break;
            case "closes its socket":
                new FileOutputStream(control()).close();
                Thread.sleep(60_000);
                break;
            case "floods its log":
                while (true) {
                    System.out.println("x".repeat(1000));
                }
            case "writes a line without end":
                while (true) {
                    System.out.print("x".repeat(100_000));
                }
            case "stops itself":
                run("/bin/kill", "-STOP", Long.toString(ProcessHandle.current().pid()));
                Thread.sleep(60_000);
                break;
            default:
        }
        return Map.of("count", count, "born", BORN, "sandbox", Files.readSymbolicLink(Path.of("/proc/self/ns/pid")).toString());
    }
}
