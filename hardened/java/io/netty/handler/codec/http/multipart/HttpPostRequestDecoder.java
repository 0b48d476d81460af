package io.netty.handler.codec.http.multipart;

import io.netty.buffer.ByteBufHolder;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpRequest;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.NoSuchElementException;

/**
 * Hands a form on as it came: one item named "body" with the raw bytes and the full Content-Type.
 *
 * <p>Takes the place of netty's class of this name, which TorchServe 0.12 calls for every form body. {@code curl -d}
 * says that its text is a form; netty's class would take {@code &}, {@code =}, {@code +} and {@code %} for syntax and
 * answer 500 to a bare {@code %}, with the text in the log. The Python handler judges forms itself. Only what
 * TorchServe calls is here; the nested exception classes stay netty's own. Why at all: docs/adr/0002.
 */
public class HttpPostRequestDecoder {
    private static final String PARAMETER = "body";

    private InterfaceHttpData item;

    /**
     * Copies the body.
     *
     * @param factory is not used: nothing goes to disk
     * @param request the whole request, content and all
     */
    public HttpPostRequestDecoder(HttpDataFactory factory, HttpRequest request) {
        byte[] bytes = ByteBufUtil.getBytes(((ByteBufHolder) request).content());
        String contentType = request.headers().get(HttpHeaderNames.CONTENT_TYPE, "");
        // TorchServe keeps the content type of a file only, and reads the whole backing array: it must fit exactly.
        MemoryFileUpload body = new MemoryFileUpload(PARAMETER, "", contentType, null, null, bytes.length);
        try {
            body.setContent(Unpooled.wrappedBuffer(bytes));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        item = body;
    }

    /** Tells whether the request says that it is multipart/form-data. */
    public static boolean isMultipart(HttpRequest request) {
        String type = request.headers().get(HttpHeaderNames.CONTENT_TYPE, "");
        String multipart = HttpHeaderValues.MULTIPART_FORM_DATA.toString();
        return type.regionMatches(true, 0, multipart, 0, multipart.length());
    }

    /** Tells whether the body is still to be fetched. */
    public boolean hasNext() {
        return item != null;
    }

    /** Returns the body, once. */
    public InterfaceHttpData next() {
        if (item == null) {
            throw new NoSuchElementException("the body was fetched already; expected hasNext() to be asked first");
        }
        InterfaceHttpData body = item;
        item = null;
        return body;
    }

    /** Does nothing: there are no files. */
    public void cleanFiles() {}

    /** Does nothing: the bytes belong to the garbage collector. */
    public void destroy() {}
}
