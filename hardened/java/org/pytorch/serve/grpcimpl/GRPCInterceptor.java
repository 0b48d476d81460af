package org.pytorch.serve.grpcimpl;

import com.google.protobuf.InvalidProtocolBufferException;
import io.grpc.ForwardingServerCall;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.netty.util.internal.logging.InternalLoggerFactory;
import io.grpc.netty.shaded.io.netty.util.internal.logging.JdkLoggerFactory;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.pytorch.serve.http.Session;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.TokenAuthorization;
import org.pytorch.serve.util.TokenAuthorization.TokenType;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Refuses the two streaming calls, which end the worker that serves them. TorchServe 0.12 (GRPCJob.response) reads a header
 * that only a handler that streams sets; for any other the null stops the worker's thread, and with it the whole batch, as
 * often as somebody calls. Found by tests/fuzz.
 *
 * Refuses every call of the Open Inference service, which TorchServe offers where TS_OPEN_INFERENCE_PROTOCOL is set. It turns
 * BYTES into base64, so that the model scores the base64 instead of the tweet, and an answer of any other form than it
 * expects ends the worker's thread as above (OpenInferenceProtocolImpl.setInputContents, GRPCJob.response). The same
 * protocol is right over REST.
 *
 * Everything else is let through as TorchServe's own class does: with a token where tokens are asked for, and a line in the
 * access log.
 *
 * A message that is no protobuf never gets so far: grpc-java ends the call (UNKNOWN) and throws, and its executor logs the
 * stack through java.util.logging, which log4j2.xml does not reach, on the console, as often as somebody sends one. A
 * caller's broken bytes are no fault of the server: those records are dropped here, any other of that logger stays.
 */
public class GRPCInterceptor implements ServerInterceptor {
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private static final Logger ACCESS_LOG = LoggerFactory.getLogger("ACCESS_LOG");
    private static final Logger LOGGER = LoggerFactory.getLogger(GRPCInterceptor.class);
    // Held, since java.util.logging forgets a logger that nobody refers to, and its filter with it.
    private static final List<java.util.logging.Logger> EXECUTOR_LOGS =
            Stream.of("SerializingExecutor", "SerializeReentrantCallsDirectExecutor")
                    .map(name -> java.util.logging.Logger.getLogger("io.grpc.internal." + name))
                    .collect(Collectors.toList());
    private static final String STREAMING = "/StreamPredictions";
    private static final String OPEN_INFERENCE = ".GRPCInferenceService/";

    private static final java.util.logging.Logger NETTY_LOG =
            java.util.logging.Logger.getLogger("io.grpc.netty.shaded.io.netty");

    static {
        // At DEBUG gRPC's netty logs the bytes of each frame, whatever is in them. There it asks java.util.logging for its
        // level, and not log4j2, where somebody may lower it.
        InternalLoggerFactory.setDefaultFactory(JdkLoggerFactory.INSTANCE);
        NETTY_LOG.setLevel(java.util.logging.Level.SEVERE);
        EXECUTOR_LOGS.forEach(log -> log.setFilter(record -> !isBrokenMessage(record.getThrown())));
    }

    private final TokenType required;

    public GRPCInterceptor(ConnectorType connector) {
        required = connector == ConnectorType.MANAGEMENT_CONNECTOR ? TokenType.MANAGEMENT : TokenType.INFERENCE;
    }

    @Override
    public <Q, R> ServerCall.Listener<Q> interceptCall(
            ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
        String method = call.getMethodDescriptor().getFullMethodName();
        if (!mayPass(headers)) {
            return refuse(call, Status.PERMISSION_DENIED.withDescription("a valid token is needed: authorization"));
        }
        if (method.contains(STREAMING)) {
            return refuse(
                    call, Status.UNIMPLEMENTED.withDescription("answers are not streamed here; call Predictions"));
        }
        if (method.contains(OPEN_INFERENCE)) {
            return refuse(
                    call,
                    Status.UNIMPLEMENTED.withDescription(
                            "Open Inference is not spoken over gRPC here; call Predictions, or POST /v2/models/NAME/infer"));
        }
        Session session = new Session(String.valueOf(call.getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR)), method);
        ServerCall<Q, R> logged =
                new ForwardingServerCall.SimpleForwardingServerCall<Q, R>(call) {
                    @Override
                    public void close(Status status, Metadata trailers) {
                        session.setCode(status.getCode().value());
                        ACCESS_LOG.info(session.toString());
                        super.close(status, trailers);
                    }
                };
        return next.startCall(logged, headers);
    }

    private static boolean isBrokenMessage(Throwable thrown) {
        return thrown instanceof StatusRuntimeException && thrown.getCause() instanceof InvalidProtocolBufferException;
    }

    private boolean mayPass(Metadata headers) {
        if (!TokenAuthorization.isEnabled()) {
            return true;
        }
        String value = headers.get(AUTHORIZATION);
        return value != null
                && TokenAuthorization.checkTokenAuthorization(
                        TokenAuthorization.parseTokenFromBearerTokenHeader(value), required);
    }

    private static <Q, R> ServerCall.Listener<Q> refuse(ServerCall<Q, R> call, Status status) {
        call.close(status, new Metadata());
        return new ServerCall.Listener<Q>() {};
    }
}
