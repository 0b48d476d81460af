package torchserve_hardened;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.lang.instrument.ClassFileTransformer;
import java.lang.instrument.Instrumentation;
import java.math.BigInteger;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.security.ProtectionDomain;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.jar.JarFile;
import java.util.zip.ZipEntry;

/**
 * Gives Java the classes of this jar in place of TorchServe's classes of the same names, whatever the class path is.
 *
 * <p>`META-INF/replaced` holds a line `NAME SHA256` for each class that is replaced: the hash of the one that it was
 * written for. Where TorchServe has another, the server ends at once, since nobody knows what a fix does there.
 */
public final class Agent implements ClassFileTransformer {
    private static final String REPLACED = "META-INF/replaced";

    private final Map<String, byte[]> classes = new HashMap<>();
    private final Map<String, String> hashes = new HashMap<>();

    private Agent(JarFile jar) throws IOException {
        String lines = new String(read(jar, REPLACED), StandardCharsets.UTF_8);
        for (String line : lines.split("\n")) {
            String[] parts = line.split(" ");
            hashes.put(parts[0], parts[1]);
            classes.put(parts[0], read(jar, parts[0] + ".class"));
        }
    }

    /** Called by Java before TorchServe's main class; what is thrown here ends the server. */
    public static void premain(String options, Instrumentation java) throws IOException, URISyntaxException {
        File file = new File(Agent.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        try (JarFile jar = new JarFile(file)) {
            Agent agent = new Agent(jar);
            agent.requireKnownClasses();
            java.addTransformer(agent);
        }
    }

    /** Checks at the start: some classes are loaded by the first request that needs them, and would end a server at work. */
    private void requireKnownClasses() throws IOException {
        for (Map.Entry<String, byte[]> one : classes.entrySet()) {
            try (InputStream stream = ClassLoader.getSystemResourceAsStream(one.getKey() + ".class")) {
                byte[] first = stream.readAllBytes(); // on the class path, where this jar is the last
                if (!Arrays.equals(first, one.getValue())) { // equal: this Java runs no TorchServe
                    requireKnown(one.getKey(), first);
                }
            }
        }
    }

    @Override
    public byte[] transform(ClassLoader loader, String name, Class<?> old, ProtectionDomain domain, byte[] content) {
        byte[] ours = classes.get(name);
        if (ours == null) {
            return null; // as it is
        }
        requireKnown(name, content); // another agent may have changed it since
        return ours.clone();
    }

    private void requireKnown(String name, byte[] content) {
        String found = sha256(content);
        if (!found.equals(hashes.get(name))) {
            System.err.println(
                    "torchserve-hardened: " + name + " has sha256 " + found + "; expected " + hashes.get(name)
                            + " of TorchServe 0.12.0; install that release. Java was ended.");
            Runtime.getRuntime().halt(1); // `transform` swallows an exception, and the unprotected class would be used
        }
    }

    private static byte[] read(JarFile jar, String name) throws IOException {
        ZipEntry entry = jar.getEntry(name);
        if (entry == null) {
            throw new IOException("torchserve-hardened: its jar lacks " + name + "; install the package again");
        }
        try (InputStream stream = jar.getInputStream(entry)) {
            return stream.readAllBytes();
        }
    }

    private static String sha256(byte[] content) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(content);
            return String.format("%064x", new BigInteger(1, digest));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every Java has it
        }
    }
}
