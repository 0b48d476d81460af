package org.pytorch.serve.workflow.api.http;

import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.QueryStringDecoder;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.archive.workflow.WorkflowException;
import org.pytorch.serve.http.HttpRequestHandlerChain;
import org.pytorch.serve.http.MethodNotAllowedException;
import org.pytorch.serve.wlm.WorkerInitializationException;

/**
 * Answers 405 to everything under /workflows.
 *
 * <p>TorchServe 0.12.0 registers a workflow for anybody who can post to the management port, model API off or not, and
 * runs the code inside. Upstream closed it in commit 524612f43 and never released that. There are no workflows here, so
 * listing and deleting them goes as well. Why at all: docs/adr/0002.
 */
public class WorkflowMgmtRequestHandler extends HttpRequestHandlerChain {
    @Override
    public void handleRequest(
            ChannelHandlerContext ctx, FullHttpRequest req, QueryStringDecoder decoder, String[] segments)
            throws ModelException, DownloadArchiveException, WorkflowException, WorkerInitializationException {
        if (segments.length > 1 && "workflows".equals(segments[1])) {
            throw new MethodNotAllowedException();
        }
        chain.handleRequest(ctx, req, decoder, segments);
    }
}
